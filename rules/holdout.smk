rule holdout:
    input:
        network="results/priors/{recipe}/zero123plus/receipt.json",
        corpus="results/priors/{recipe}/corpus.npz",
        code=code("holdout"),
    output:
        quality="results/priors/{recipe}/quality.csv",
        views="results/priors/{recipe}/quality_views.csv",
        sheet="results/priors/{recipe}/quality.png",
        mean_views="results/priors/{recipe}/mean_views.png",
        card="results/priors/{recipe}/model_card.md",
    log:
        "results/priors/{recipe}/logs/holdout.log",
    benchmark:
        "results/priors/{recipe}/benchmarks/holdout.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=6000,
        runtime="2h",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=EXPERIMENT.holdout_json(),
    shell:
        "python -m stages.holdout --network {input.network} --corpus {input.corpus} --out {output.quality}"
        " --views {output.views} --sheet {output.sheet} --mean-views {output.mean_views} --model-card {output.card}"
        " --settings {params.settings:q} --label {wildcards.recipe} --log {log}"
