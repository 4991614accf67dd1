rule renders:
    input:
        sequence="results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
        frames="results/{suite}/{scene}/frames.npz",
        anchors=asked(anchors_of, "suite", "scene", "variant", "seed"),
        truth="results/{suite}/{scene}/truth.npz",
        code=code("renders"),
    output:
        "results/{suite}/{scene}/{variant}/seed{seed}/views.npz",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/renders.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/renders.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        settings=asked(EXPERIMENT.renders_json, "variant", "seed"),
    shell:
        "python -m stages.renders --sequence {input.sequence} --frames {input.frames} --anchors {input.anchors}"
        " --truth {input.truth} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
