rule metrics:
    input:
        views="results/{suite}/{scene}/{variant}/seed{seed}/views.npz",
        frames="results/{suite}/{scene}/frames.npz",
        anchors=asked(anchors_if_ours, "suite", "scene", "variant", "seed"),
        truth="results/{suite}/{scene}/truth.npz",
        sequence=asked(sequence_if_ours, "suite", "scene", "variant", "seed"),
        code=code("metrics"),
    output:
        "results/{suite}/{scene}/{variant}/seed{seed}/metrics.csv",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/metrics.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/metrics.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        settings=asked(EXPERIMENT.metrics_json, "suite", "scene", "variant", "seed"),
    shell:
        "python -m stages.metrics --views {input.views} --frames {input.frames} --anchors {input.anchors}"
        " --truth {input.truth} --sequence {input.sequence} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
