rule study:
    input:
        clips=asked(study_clips_of, "suite"),
        frames=asked(frames_of, "suite"),
        parts=study_parts(),
        code=code("study"),
    output:
        folder=directory("results/{suite}/study"),
        key="results/{suite}/study_key.json",
    log:
        "results/{suite}/logs/study.log",
    benchmark:
        "results/{suite}/benchmarks/study.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=asked(study_json, "suite"),
    shell:
        "python -m stages.study --clips {input.clips} --frames {input.frames} --parts {input.parts}"
        " --out {output.folder} --key {output.key} --settings {params.settings:q} --label {wildcards.suite} --log {log}"
