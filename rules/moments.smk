rule moments:
    input:
        frames="results/{suite}/{scene}/frames.npz",
        truth="results/{suite}/{scene}/truth.npz",
        sequences=asked(moving_sequences_of, "suite", "scene"),
        code=code("moments"),
    output:
        picture=report(
            "results/{suite}/{scene}/moments.png",
            caption="../workflow/report/moments.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "{scene}", "method": "all", "seed": "first", "what": "moments"},
        ),
        table="results/{suite}/{scene}/moments.csv",
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
        settings=EXPERIMENT.moments_json(),
    shell:
        "python -m stages.moments --frames {input.frames} --truth {input.truth} --sequences {input.sequences}"
        " --out {output.picture} --table {output.table} --settings {params.settings:q} --label {wildcards.scene} --log {log}"


use rule moments as rectification with:
    input:
        frames="results/{suite}/{scene}/frames.npz",
        truth="results/{suite}/{scene}/truth.npz",
        sequences=asked(rectified_sequences_of, "suite", "scene"),
        code=code("moments"),
    output:
        picture=report(
            "results/{suite}/{scene}/rectification.png",
            caption="../workflow/report/moments.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "{scene}", "method": "all", "seed": "first", "what": "with and without rectification"},
        ),
        table="results/{suite}/{scene}/rectification.csv",
    log:
        "results/{suite}/{scene}/logs/rectification.log",
    benchmark:
        "results/{suite}/{scene}/benchmarks/rectification.jsonl"
