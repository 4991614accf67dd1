rule speed:
    input:
        dynamic="results/{suite}/{scene}/{variant}/seed{seed}/dynamic.safetensors",
        frames="results/{suite}/{scene}/frames.npz",
        code=code("speed"),
    output:
        "results/{suite}/{scene}/{variant}/seed{seed}/speed.csv",
    log:
        "results/{suite}/{scene}/{variant}/seed{seed}/logs/speed.log",
    benchmark:
        "results/{suite}/{scene}/{variant}/seed{seed}/benchmarks/speed.jsonl"
    conda:
        "../environment.yml"
    # Reserved, not used: a frame rate taken beside another job would be that job's as well.
    threads: whole_machine
    resources:
        mem_mb=1500,
        runtime="15m",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=asked(EXPERIMENT.speed_json, "variant"),
    shell:
        "python -m stages.speed --dynamic {input.dynamic} --frames {input.frames} --out {output}"
        " --settings {params.settings:q} --label {wildcards.scene} --log {log}"
