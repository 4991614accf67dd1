rule protocol:
    input:
        views=views_of(EXPERIMENT.suite),
        frames=frames_of(EXPERIMENT.suite),
        truth=truths_of(EXPERIMENT.suite),
        weights=EXPERIMENT.weight_files(),
        code=code("protocol"),
    output:
        csv=report(
            "results/protocol.csv",
            caption="../workflow/report/protocol.rst",
            category="Tables",
            labels={"table": "protocol", "form": "CSV"},
        ),
        markdown="results/protocol.md",
        tex="results/protocol.tex",
    log:
        "results/logs/protocol.log",
    benchmark:
        "results/benchmarks/protocol.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=4000,
        runtime="2h",
        gpu=gpus(),
    params:
        settings=EXPERIMENT.protocol_json(EXPERIMENT.suite, asset_variants()[0], EXPERIMENT.seeds[0]),
    shell:
        "python -m stages.protocol --views {input.views} --frames {input.frames} --truth {input.truth}"
        " --out {output.csv} --markdown {output.markdown} --tex {output.tex} --settings {params.settings:q} --log {log}"
