rule autoencoder:
    input:
        corpus="results/priors/{recipe}/corpus.npz",
        code=code("autoencoder"),
    output:
        network="results/priors/{recipe}/autoencoder/config.json",
        weights="results/priors/{recipe}/autoencoder/diffusion_pytorch_model.safetensors",
        curve="results/priors/{recipe}/autoencoder_curve.csv",
        plot="results/priors/{recipe}/autoencoder_curve.png",
    log:
        "results/priors/{recipe}/logs/autoencoder.log",
    benchmark:
        "results/priors/{recipe}/benchmarks/autoencoder.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=16000,
        runtime="12h",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=EXPERIMENT.autoencoder_json(),
        checkpoints="results/priors/{recipe}/checkpoints",
    shell:
        "python -m stages.autoencoder --corpus {input.corpus} --out {output.network} --curve {output.curve}"
        " --plot {output.plot} --checkpoints {params.checkpoints}"
        " --settings {params.settings:q} --label {wildcards.recipe} --log {log}"
