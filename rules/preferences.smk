rule table6:
    input:
        answers=asked(EXPERIMENT.answer_files),
        key=EXPERIMENT.study_key(),
        papers=shipped("config/reported/papers.csv"),
        code=code("preferences"),
    output:
        csv=report(
            "results/table6.csv",
            caption="../workflow/report/preferences.rst",
            category="Tables",
            labels={"table": "6", "form": "CSV"},
        ),
        markdown="results/table6.md",
        tex="results/table6.tex",
    log:
        "results/logs/table6.log",
    benchmark:
        "results/benchmarks/table6.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="5m",
    params:
        settings=EXPERIMENT.run_json(),
    shell:
        "python -m stages.preferences --answers {input.answers} --key {input.key} --papers {input.papers}"
        " --out {output.csv} --markdown {output.markdown} --tex {output.tex} --settings {params.settings:q} --log {log}"
