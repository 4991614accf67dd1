rule anchors:
    input:
        frames="results/{suite}/{scene}/frames.npz",
        files=asked(anchor_files, "suite", "scene", "source"),
        weights=asked(EXPERIMENT.anchors_weights, "source"),
        code=code("anchors"),
    output:
        "results/{suite}/{scene}/anchors/{source}/seed{seed}/anchors.npz",
    log:
        "results/{suite}/{scene}/anchors/{source}/seed{seed}/logs/anchors.log",
    benchmark:
        "results/{suite}/{scene}/anchors/{source}/seed{seed}/benchmarks/anchors.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=asked(anchors_memory, "source"),
        runtime="2h",
        gpu=asked(anchors_gpus, "source"),
    params:
        settings=asked(EXPERIMENT.anchors_json, "suite", "scene", "source", "seed"),
    shell:
        "python -m stages.anchors --frames {input.frames} --weights {input.weights} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"


use rule anchors as fused_anchors with:
    output:
        "results/{suite}/{scene}/anchors/{source}/{fusion}/seed{seed}/anchors.npz",
    log:
        "results/{suite}/{scene}/anchors/{source}/{fusion}/seed{seed}/logs/anchors.log",
    benchmark:
        "results/{suite}/{scene}/anchors/{source}/{fusion}/seed{seed}/benchmarks/anchors.jsonl"
    params:
        settings=asked(EXPERIMENT.anchors_json, "suite", "scene", "source", "seed", "fusion"),
