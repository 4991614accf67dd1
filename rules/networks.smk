rule networks:
    input:
        views="results/{suite}/{scene}/{variant}/seed{seed}/views.npz",
        frames="results/{suite}/{scene}/frames.npz",
        truth="results/{suite}/{scene}/truth.npz",
        sequence=asked(sequence_if_ours, "suite", "scene", "variant", "seed"),
        weights=EXPERIMENT.weight_files(),
        code=code("networks"),
    output:
        csv="results/{suite}/{scene}/{variant}/seed{seed}/networks.csv",
        features="results/{suite}/{scene}/{variant}/seed{seed}/features.npz",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/networks.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/networks.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=6000,
        runtime="2h",
        gpu=gpus(),
    params:
        settings=asked(EXPERIMENT.networks_json, "suite", "scene", "variant", "seed"),
    shell:
        "python -m stages.networks --views {input.views} --frames {input.frames} --truth {input.truth}"
        " --sequence {input.sequence} --out {output.csv} --features {output.features}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
