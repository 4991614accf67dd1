rule denoiser:
    input:
        corpus="results/priors/{recipe}/corpus.npz",
        autoencoder="results/priors/{recipe}/autoencoder/config.json",
        weights="results/priors/{recipe}/autoencoder/diffusion_pytorch_model.safetensors",
        code=code("denoiser"),
    output:
        receipt="results/priors/{recipe}/{prior}/receipt.json",
        curve="results/priors/{recipe}/curves/{prior}/denoiser_curve.csv",
        plot="results/priors/{recipe}/curves/{prior}/denoiser_curve.png",
    log:
        "results/priors/{recipe}/logs/{prior}/denoiser.log",
    benchmark:
        "results/priors/{recipe}/benchmarks/{prior}/denoiser.jsonl"
    conda:
        "../environment.yml"
    threads: EXPERIMENT.config.threads
    resources:
        mem_mb=24000,
        runtime="24h",
        gpu=gpus(),
        gpu_manufacturer="nvidia",
    params:
        settings=asked(EXPERIMENT.denoiser_json, "prior"),
        checkpoints="results/priors/{recipe}/checkpoints/{prior}",
        label="{recipe} {prior}",
    shell:
        "python -m stages.denoiser --corpus {input.corpus} --autoencoder {input.autoencoder} --out {output.receipt}"
        " --curve {output.curve} --plot {output.plot} --checkpoints {params.checkpoints}"
        " --settings {params.settings:q} --label {params.label:q} --log {log}"
