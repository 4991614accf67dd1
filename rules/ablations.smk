rule table2:
    input:
        metrics=compared_metrics("table2"),
        beside=compared_files("table2"),
        networks=compared_networks("table2"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/table2.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "2", "form": "CSV"},
        ),
        markdown="results/table2.md",
        tex="results/table2.tex",
        plot=report(
            "results/table2.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "2", "form": "picture"},
        ),
    log:
        "results/logs/table2.log",
    benchmark:
        "results/benchmarks/table2.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="5m",
    params:
        settings=comparison_json("table2"),
    shell:
        "python -m stages.ablations --metrics {input.metrics} --networks {input.networks} --papers {input.papers}"
        " --out {output.csv} --markdown {output.markdown} --tex {output.tex} --plot {output.plot} --settings {params.settings:q} --log {log}"


use rule table2 as table3 with:
    input:
        metrics=compared_metrics("table3"),
        beside=compared_files("table3"),
        networks=compared_networks("table3"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/table3.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "3", "form": "CSV"},
        ),
        markdown="results/table3.md",
        tex="results/table3.tex",
        plot=report(
            "results/table3.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "3", "form": "picture"},
        ),
    log:
        "results/logs/table3.log",
    benchmark:
        "results/benchmarks/table3.jsonl"
    params:
        settings=comparison_json("table3"),


use rule table2 as table4 with:
    input:
        metrics=compared_metrics("table4"),
        beside=compared_files("table4"),
        networks=compared_networks("table4"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/table4.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "4", "form": "CSV"},
        ),
        markdown="results/table4.md",
        tex="results/table4.tex",
        plot=report(
            "results/table4.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "4", "form": "picture"},
        ),
    log:
        "results/logs/table4.log",
    benchmark:
        "results/benchmarks/table4.jsonl"
    params:
        settings=comparison_json("table4"),


use rule table2 as table5 with:
    input:
        metrics=compared_metrics("table5"),
        beside=compared_files("table5"),
        networks=compared_networks("table5"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/table5.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "5", "form": "CSV"},
        ),
        markdown="results/table5.md",
        tex="results/table5.tex",
        plot=report(
            "results/table5.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "5", "form": "picture"},
        ),
    log:
        "results/logs/table5.log",
    benchmark:
        "results/benchmarks/table5.jsonl"
    params:
        settings=comparison_json("table5"),


use rule table2 as comparison with:
    input:
        metrics=compared_metrics("comparison"),
        beside=compared_files("comparison"),
        networks=compared_networks("comparison"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/comparison.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "comparison", "form": "CSV"},
        ),
        markdown="results/comparison.md",
        tex="results/comparison.tex",
        plot=report(
            "results/comparison.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "comparison", "form": "picture"},
        ),
    log:
        "results/logs/comparison.log",
    benchmark:
        "results/benchmarks/comparison.jsonl"
    params:
        settings=comparison_json("comparison"),


use rule table2 as sweep with:
    input:
        metrics=compared_metrics("sweep"),
        beside=compared_files("sweep"),
        networks=compared_networks("sweep"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/sweep.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "sweep", "form": "CSV"},
        ),
        markdown="results/sweep.md",
        tex="results/sweep.tex",
        plot=report(
            "results/sweep.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "sweep", "form": "picture"},
        ),
    log:
        "results/logs/sweep.log",
    benchmark:
        "results/benchmarks/sweep.jsonl"
    params:
        settings=comparison_json("sweep"),


use rule table2 as sds with:
    input:
        metrics=compared_metrics("sds"),
        beside=compared_files("sds"),
        networks=compared_networks("sds"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/sds.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "sds", "form": "CSV"},
        ),
        markdown="results/sds.md",
        tex="results/sds.tex",
        plot=report(
            "results/sds.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "sds", "form": "picture"},
        ),
    log:
        "results/logs/sds.log",
    benchmark:
        "results/benchmarks/sds.jsonl"
    params:
        settings=comparison_json("sds"),


use rule table2 as anchor_cost with:
    input:
        metrics=compared_metrics("anchor_cost"),
        beside=compared_files("anchor_cost"),
        networks=compared_networks("anchor_cost"),
        papers=shipped("config/reported/papers.csv"),
        code=code("ablations"),
    output:
        csv=report(
            "results/anchor_cost.csv",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "anchor_cost", "form": "CSV"},
        ),
        markdown="results/anchor_cost.md",
        tex="results/anchor_cost.tex",
        plot=report(
            "results/anchor_cost.png",
            caption="../workflow/report/ablations.rst",
            category="Tables",
            labels={"table": "anchor_cost", "form": "picture"},
        ),
    log:
        "results/logs/anchor_cost.log",
    benchmark:
        "results/benchmarks/anchor_cost.jsonl"
    params:
        settings=comparison_json("anchor_cost"),
