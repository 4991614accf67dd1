rule corpus:
    input:
        code=code("corpus"),
    output:
        corpus="results/priors/{recipe}/corpus.npz",
        mean_views="results/priors/{recipe}/mean_views.png",
    log:
        "results/priors/{recipe}/logs/corpus.log",
    benchmark:
        "results/priors/{recipe}/benchmarks/corpus.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=12000,
        runtime="2h",
    params:
        settings=EXPERIMENT.corpus_json(),
    shell:
        "python -m stages.corpus --out {output.corpus} --mean-views {output.mean_views}"
        " --settings {params.settings:q} --label {wildcards.recipe} --log {log}"
