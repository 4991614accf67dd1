rule assets:
    input:
        sequence="results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors",
        frames="results/{suite}/{scene}/frames.npz",
        code=code("assets"),
    output:
        orbit="results/{suite}/{scene}/{variant}/seed{seed}/assets/orbit.mp4",
        source="results/{suite}/{scene}/{variant}/seed{seed}/assets/input.mp4",
        sheet=report(
            "results/{suite}/{scene}/{variant}/seed{seed}/assets/sheet.png",
            caption="../workflow/report/assets.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "{scene}", "method": "{variant}", "seed": "{seed}", "what": "contact sheet"},
        ),
        ply=directory("results/{suite}/{scene}/{variant}/seed{seed}/assets/ply"),
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/assets.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/assets.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        settings=asked(EXPERIMENT.assets_json, "variant", "seed"),
    shell:
        "python -m stages.assets --sequence {input.sequence} --frames {input.frames}"
        " --orbit-path {output.orbit} --source {output.source} --sheet-path {output.sheet} --ply {output.ply}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
