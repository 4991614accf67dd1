rule dynamic:
    input:
        canonical=asked(canonical_of, "suite", "scene", "variant", "seed"),
        frames="results/{suite}/{scene}/frames.npz",
        anchors=asked(anchors_of, "suite", "scene", "variant", "seed"),
        match=asked(match_of, "suite", "scene", "variant", "seed"),
        weights=asked(EXPERIMENT.guidance_weights, "variant"),
        # A matter of order: its checkpoint saves time and changes nothing.
        beginner=ancient(asked(beginner_of, "suite", "scene", "variant", "seed")),
        code=code("dynamic"),
    output:
        model="results/{suite}/{scene}/{variant}/seed{seed}/dynamic.safetensors",
        curve="results/{suite}/{scene}/{variant}/seed{seed}/dynamic_curve.csv",
        counts="results/{suite}/{scene}/{variant}/seed{seed}/gaussians.csv",
        gradients="results/{suite}/{scene}/{variant}/seed{seed}/gradients.csv",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/dynamic.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/dynamic.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=asked(fit_memory, "variant"),
        runtime="4h",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=asked(EXPERIMENT.dynamic_json, "variant", "seed"),
        checkpoints="results/{suite}/{scene}/{variant}/seed{seed}/checkpoints",
        beginning=asked(beginning_of, "suite", "scene", "variant", "seed"),
        label="{scene} {variant} seed {seed}",
    shell:
        "python -m stages.dynamic --canonical {input.canonical} --frames {input.frames} --anchors {input.anchors}"
        " --match {input.match} --weights {input.weights} --out {output.model} --curve {output.curve} --counts {output.counts}"
        " --gradients {output.gradients} --checkpoints {params.checkpoints} --beginning {params.beginning}"
        " --settings {params.settings:q} --label {params.label:q} --log {log}"
