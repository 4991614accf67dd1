rule player:
    input:
        compacts="results/{suite}/{scene}/{variant}/seed{seed}/sequence.4dgs",
        frames="results/{suite}/{scene}/frames.npz",
        anchors=asked(anchors_of, "suite", "scene", "variant", "seed"),
        parts=player_parts(),
        code=code("player"),
    output:
        report(
            "results/{suite}/{scene}/{variant}/seed{seed}/player.html",
            caption="../workflow/report/player.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "{scene}", "method": "{variant}", "seed": "{seed}", "what": "player"},
        ),
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/player.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/player.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=asked(EXPERIMENT.player_json, "variant", "seed"),
    shell:
        "python -m stages.player --compacts {input.compacts} --frames {input.frames} --anchors {input.anchors}"
        " --parts {input.parts} --out {output} --settings {params.settings:q} --label {wildcards.scene} --log {log}"


rule player_comparison:
    input:
        compacts=compared_compacts,
        frames="results/{suite}/{scene}/frames.npz",
        anchors=asked(first_anchors_of, "suite", "scene", "first"),
        parts=player_parts(),
        code=code("player"),
    output:
        report(
            "results/{suite}/{scene}/compare_{first}_{second}.html",
            caption="../workflow/report/player.rst",
            category="Results",
            subcategory="{suite}",
            labels={"scene": "{scene}", "method": "{first} and {second}", "seed": "first", "what": "player"},
        ),
    log:
        "results/{suite}/{scene}/logs/compare_{first}_{second}.log",
    benchmark:
        "results/{suite}/{scene}/benchmarks/compare_{first}_{second}.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=asked(EXPERIMENT.player_json, "first"),
    shell:
        "python -m stages.player --compacts {input.compacts} --frames {input.frames} --anchors {input.anchors}"
        " --parts {input.parts} --out {output} --settings {params.settings:q} --label {wildcards.scene} --log {log}"
