rule holdout:
    input:
        network="results/priors/{recipe}/{prior}/receipt.json",
        corpus="results/priors/{recipe}/corpus.npz",
        code=code("holdout"),
    output:
        quality="results/priors/{recipe}/holdout/{prior}/quality.csv",
        views="results/priors/{recipe}/holdout/{prior}/quality_views.csv",
        sheet="results/priors/{recipe}/holdout/{prior}/quality.png",
        card="results/priors/{recipe}/holdout/{prior}/model_card.md",
    log:
        "results/priors/{recipe}/logs/{prior}/holdout.log",
    benchmark:
        "results/priors/{recipe}/benchmarks/{prior}/holdout.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=6000,
        runtime="2h",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=asked(EXPERIMENT.holdout_json, "prior"),
        label="{recipe} {prior}",
    shell:
        "python -m stages.holdout --network {input.network} --corpus {input.corpus} --out {output.quality}"
        " --views {output.views} --sheet {output.sheet} --model-card {output.card}"
        " --settings {params.settings:q} --label {params.label:q} --log {log}"
