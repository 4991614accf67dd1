rule picture:
    input:
        weights=asked(picture_weights),
        code=code("picture"),
    output:
        picture="results/{suite}/{scene}/picture.png",
        record="results/{suite}/{scene}/picture.json",
    log:
        "results/{suite}/{scene}/logs/picture.log",
    benchmark:
        "results/{suite}/{scene}/benchmarks/picture.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=16_000,
        runtime="2h",
        gpu=gpus(),
    params:
        settings=asked(EXPERIMENT.picture_json, "suite", "scene"),
    shell:
        "python -m stages.picture --weights {input.weights} --out {output.picture} --record {output.record}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
