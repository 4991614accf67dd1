rule mesh:
    input:
        sequence="results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
        frames="results/{suite}/{scene}/frames.npz",
        code=code("mesh"),
    output:
        out=directory("results/{suite}/{scene}/{variant}/seed{seed}/exports/mesh"),
        animated="results/{suite}/{scene}/{variant}/seed{seed}/exports/animated.glb",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/mesh.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/mesh.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        settings=asked(EXPERIMENT.exports_json, "variant", "seed"),
    shell:
        "python -m stages.mesh --sequence {input.sequence} --frames {input.frames}"
        " --out {output.out} --animated {output.animated}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
