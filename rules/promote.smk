rule promote_priors:
    input:
        networks=expand(f"{TRAINED}/{{prior}}/receipt.json", prior=PRIORS),
        scores=expand(
            f"{TRAINED}/holdout/{{prior}}/{{file}}", prior=PRIORS, file=["model_card.md", "quality.csv", "quality.png"]
        ),
        curves=expand(f"{TRAINED}/curves/{{prior}}/denoiser_curve.{{form}}", prior=PRIORS, form=["csv", "png"]),
        autoencoder=expand(f"{TRAINED}/autoencoder_curve.{{form}}", form=["csv", "png"]),
        mean_views=f"{TRAINED}/mean_views.png",
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
        out=shipped("resources/priors"),
    shell:
        "python -m stages.promote --networks {input.networks} --beside {input.scores} {input.curves} {input.autoencoder} {input.mean_views} --out {params.out}"
        " --settings {params.settings:q} --log {log}"
