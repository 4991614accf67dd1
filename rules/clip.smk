rule clip:
    input:
        picture=asked(EXPERIMENT.still, "suite", "scene"),
        weights=asked(clip_weights),
        code=code("clip"),
    output:
        "results/{suite}/{scene}/clip.npz",
    log:
        "results/{suite}/{scene}/logs/clip.log",
    benchmark:
        "results/{suite}/{scene}/benchmarks/clip.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=24_000,
        runtime="4h",
        gpu=gpus(),
    params:
        settings=asked(EXPERIMENT.clip_json),
    shell:
        "python -m stages.clip --picture {input.picture:q} --weights {input.weights} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
