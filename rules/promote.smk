rule promote_priors:
    input:
        network=f"results/priors/{EXPERIMENT.config.priors.recipe}/zero123plus/receipt.json",
        beside=[
            f"results/priors/{EXPERIMENT.config.priors.recipe}/model_card.md",
            f"results/priors/{EXPERIMENT.config.priors.recipe}/quality.csv",
            f"results/priors/{EXPERIMENT.config.priors.recipe}/quality.png",
            f"results/priors/{EXPERIMENT.config.priors.recipe}/mean_views.png",
            f"results/priors/{EXPERIMENT.config.priors.recipe}/denoiser_curve.csv",
            f"results/priors/{EXPERIMENT.config.priors.recipe}/denoiser_curve.png",
            f"results/priors/{EXPERIMENT.config.priors.recipe}/autoencoder_curve.csv",
            f"results/priors/{EXPERIMENT.config.priors.recipe}/autoencoder_curve.png",
        ],
        code=code("promote"),
    log:
        "results/priors/logs/promote.log",
    benchmark:
        "results/priors/benchmarks/promote.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="10m",
    params:
        settings=EXPERIMENT.promote_json(),
        out=shipped("resources/priors/micro_zero123plus"),
    shell:
        "python -m stages.promote --network {input.network} --beside {input.beside} --out {params.out}"
        " --settings {params.settings:q} --log {log}"
