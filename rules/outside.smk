rule outside:
    input:
        files=asked(outside_files, "scene", "variant"),
        frames="results/{suite}/{scene}/frames.npz",
        truth="results/{suite}/{scene}/truth.npz",
        code=code("outside"),
    output:
        "results/{suite}/{scene}/{variant}/seed{seed}/views.npz",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/outside.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/outside.jsonl"
    wildcard_constraints:
        variant="|".join(EXPERIMENT.config.outside) or "none",
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="10m",
    params:
        folder=asked(outside_folder, "scene", "variant"),
        settings=asked(EXPERIMENT.outside_json, "suite", "scene", "variant", "seed"),
    shell:
        "python -m stages.outside --folder {params.folder:q} --frames {input.frames} --truth {input.truth}"
        " --out {output} --settings {params.settings:q} --label {wildcards.scene} --log {log}"


ruleorder: outside > renders
