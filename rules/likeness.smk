rule likeness:
    input:
        frames="results/{suite}/{scene}/frames.npz",
        truth="results/{suite}/{scene}/anchors/rendered/seed0/anchors.npz",
        anchors=asked(EXPERIMENT.fused_anchors, "suite", "scene", "source", "fusion", "seed"),
        mean=[],
        code=code("likeness"),
    output:
        "results/{suite}/{scene}/anchors/{source}/{fusion}/seed{seed}/likeness.csv",
    log:
        "results/{suite}/{scene}/anchors/{source}/{fusion}/seed{seed}/logs/likeness.log",
    benchmark:
        "results/{suite}/{scene}/anchors/{source}/{fusion}/seed{seed}/benchmarks/likeness.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="15m",
    params:
        settings=asked(EXPERIMENT.likeness_json, "suite", "scene", "source", "fusion", "seed"),
    shell:
        "python -m stages.likeness --frames {input.frames} --truth {input.truth} --anchors {input.anchors}"
        " --mean {input.mean} --out {output} --settings {params.settings:q} --label {wildcards.scene} --log {log}"


use rule likeness as constant_likeness with:
    input:
        frames="results/{suite}/{scene}/frames.npz",
        truth="results/{suite}/{scene}/anchors/rendered/seed0/anchors.npz",
        anchors=[],
        mean=asked(EXPERIMENT.mean_views, "answer"),
        code=code("likeness"),
    output:
        "results/{suite}/{scene}/anchors/constant/{answer}/likeness.csv",
    log:
        "results/{suite}/{scene}/anchors/constant/{answer}/logs/likeness.log",
    benchmark:
        "results/{suite}/{scene}/anchors/constant/{answer}/benchmarks/likeness.jsonl"
    params:
        settings=asked(EXPERIMENT.constant_json, "suite", "scene", "answer"),
