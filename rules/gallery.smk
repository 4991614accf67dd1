rule gallery:
    input:
        frames=asked(frames_of, "suite"),
        sequences=asked(sequences_of, "suite", "variant"),
        code=code("gallery"),
    output:
        webp="results/{suite}/gallery_{variant}.webp",
        png=report(
            "results/{suite}/gallery_{variant}.png",
            caption="../workflow/report/gallery.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "all", "method": "{variant}", "seed": "first", "what": "gallery"},
        ),
    log:
        "results/{suite}/logs/gallery_{variant}.log",
    benchmark:
        "results/{suite}/benchmarks/gallery_{variant}.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=asked(EXPERIMENT.renders_json, "variant"),
    shell:
        "python -m stages.gallery --frames {input.frames} --sequences {input.sequences}"
        " --webp {output.webp} --png {output.png} --settings {params.settings:q} --label {wildcards.suite} --log {log}"
