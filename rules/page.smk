rule page:
    input:
        frames=asked(frames_of, "suite"),
        orbits=asked(orbits_of, "suite"),
        players=asked(players_of, "suite"),
        code=code("page"),
    output:
        page="results/{suite}/gallery.html",
        sources=directory("results/{suite}/gallery"),
    log:
        "results/{suite}/logs/page.log",
    benchmark:
        "results/{suite}/benchmarks/page.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=EXPERIMENT.renders_json(EXPERIMENT.variants[0]),
    shell:
        "python -m stages.page --frames {input.frames} --orbits {input.orbits}"
        " --players {input.players} --out {output.page} --sources {output.sources}"
        " --settings {params.settings:q} --label {wildcards.suite} --log {log}"
