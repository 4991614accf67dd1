rule frames:
    input:
        files=asked(frame_files, "suite", "scene"),
        clip=asked(clip_of, "suite", "scene"),
        code=code("frames"),
    output:
        frames="results/{suite}/{scene}/frames.npz",
        truth="results/{suite}/{scene}/truth.npz",
    log:
        "results/{suite}/{scene}/logs/frames.log",
    benchmark:
        "results/{suite}/{scene}/benchmarks/frames.jsonl"
    conda:
        "../environment.yml"
    resources:
        mem_mb=1500,
        runtime="15m",
    params:
        settings=asked(EXPERIMENT.frames_json, "suite", "scene"),
    shell:
        "python -m stages.frames --out {output.frames} --truth {output.truth} --clip {input.clip}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
