rule videos:
    input:
        source="results/{suite}/{scene}/{variant}/seed{seed}/assets/input.mp4",
        orbit="results/{suite}/{scene}/{variant}/seed{seed}/assets/orbit.mp4",
        turntable="results/{suite}/{scene}/{variant}/seed{seed}/exports/turntable.mp4",
        code=code("videos"),
    output:
        report(
            "results/{suite}/{scene}/{variant}/seed{seed}/videos.html",
            caption="../workflow/report/assets.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "{scene}", "method": "{variant}", "seed": "{seed}", "what": "videos"},
        ),
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/videos.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/videos.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=500,
        runtime="5m",
    params:
        settings=EXPERIMENT.run_json(),
    shell:
        "python -m stages.videos --videos {input.source} {input.orbit} {input.turntable} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
