rule moments:
    input:
        frames="results/{suite}/{scene}/frames.npz",
        sequences=asked(moving_sequences_of, "suite", "scene"),
        code=code("moments"),
    output:
        report(
            "results/{suite}/{scene}/moments.png",
            caption="../workflow/report/moments.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "{scene}", "method": "all", "seed": "first", "what": "moments"},
        ),
    log:
        "results/{suite}/{scene}/logs/moments.log",
    benchmark:
        "results/{suite}/{scene}/benchmarks/moments.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=EXPERIMENT.renders_json(EXPERIMENT.variants[0]),
    shell:
        "python -m stages.moments --frames {input.frames} --sequences {input.sequences} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
