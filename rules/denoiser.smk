rule denoiser:
    input:
        corpus="results/priors/{recipe}/corpus.npz",
        autoencoder="results/priors/{recipe}/autoencoder/config.json",
        weights="results/priors/{recipe}/autoencoder/diffusion_pytorch_model.safetensors",
        code=code("denoiser"),
    output:
        receipt="results/priors/{recipe}/zero123plus/receipt.json",
        curve="results/priors/{recipe}/denoiser_curve.csv",
        plot="results/priors/{recipe}/denoiser_curve.png",
    log:
        "results/priors/{recipe}/logs/denoiser.log",
    benchmark:
        "results/priors/{recipe}/benchmarks/denoiser.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=12000,
        runtime="24h",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=EXPERIMENT.denoiser_json(),
        checkpoints="results/priors/{recipe}/checkpoints",
    shell:
        "python -m stages.denoiser --corpus {input.corpus} --autoencoder {input.autoencoder} --out {output.receipt}"
        " --curve {output.curve} --plot {output.plot} --checkpoints {params.checkpoints}"
        " --settings {params.settings:q} --label {wildcards.recipe} --log {log}"
