rule turntable:
    input:
        sequence="results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
        frames="results/{suite}/{scene}/frames.npz",
        code=code("turntable"),
    output:
        turntable="results/{suite}/{scene}/{variant}/seed{seed}/exports/turntable.mp4",
        orbit="results/{suite}/{scene}/{variant}/seed{seed}/exports/orbit.webp",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/turntable.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/turntable.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        settings=asked(EXPERIMENT.exports_json, "variant", "seed"),
    shell:
        "python -m stages.turntable --sequence {input.sequence} --frames {input.frames}"
        " --turntable {output.turntable} --orbit {output.orbit}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
