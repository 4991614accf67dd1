rule canonical:
    input:
        frames="results/{suite}/{scene}/frames.npz",
        anchors=asked(anchors_of, "suite", "scene", "variant", "seed"),
        weights=asked(EXPERIMENT.guidance_weights, "variant"),
        code=code("canonical"),
    output:
        ply="results/{suite}/{scene}/{variant}/seed{seed}/canonical.ply",
        curve="results/{suite}/{scene}/{variant}/seed{seed}/canonical_curve.csv",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/canonical.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/canonical.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=asked(fit_memory, "variant"),
        runtime="1h",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=asked(EXPERIMENT.canonical_json, "variant", "seed"),
        checkpoints="results/{suite}/{scene}/{variant}/seed{seed}/checkpoints",
        label="{scene} seed {seed}",
    shell:
        "python -m stages.canonical --frames {input.frames} --anchors {input.anchors} --weights {input.weights}"
        " --out {output.ply} --curve {output.curve} --checkpoints {params.checkpoints}"
        " --settings {params.settings:q} --label {params.label:q} --log {log}"
