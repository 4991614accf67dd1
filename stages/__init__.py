"""The pipeline, one module or package a stage. Stages meet in files (`contracts.py`), never in imports.

stage      reads                                writes
picture    prompt, weights                      picture.png, picture.json: a still picture
clip       a still picture, weights             clip.npz: its object in motion, cut out
frames     video, folder, dataset, procedural,  frames.npz, truth.npz
           clip
weights    config/weights.yaml, the network     resources/weights/<name>/receipt.json
anchors    frames, the scene's source, weights  anchors.npz
canonical  frames, anchors, weights             canonical.ply
dynamic    canonical, frames, anchors, weights  dynamic.safetensors, gaussians.csv, gradients.csv
bake       dynamic                              sequence.safetensors
speed      dynamic, frames                      speed.csv
renders    sequence, frames, anchors, truth     views.npz, orbit.mp4, input.mp4, sheet.png, ply/
compact    sequence                             sequence.4dgs: all of it in one small file
player     compact files, frames, anchors       player.html; compare_<a>_<b>.html of two variants
outside    PNGs of another system, truth        views.npz
spz        sequence                             exports/spz/
mesh       sequence, frames                     exports/mesh/, exports/animated.glb
turntable  sequence, frames                     exports/turntable.mp4, exports/orbit.webp
usd        sequence                             exports/sequence.usdc (extra [usd])
videos     input.mp4, orbit.mp4, turntable.mp4  videos.html, which plays them, for the report
metrics    views, sequence, frames, truth       metrics.csv
networks   the same, public weights             networks.csv, features.npz
tables     metrics of all scenes                results/table1.csv, .md, .tex
protocol   views and truth of all scenes        results/protocol.csv, .md, .tex
ablations  metrics and counts of many fits      results/table2 to 5, comparison, sweep, sds, anchor_cost: 4 files each
sudden     the same, of table 2                 results/sudden.csv, .md: around the largest change
growth     the same, of clips of three lengths  results/growth.csv, .md, .tex, .png
likeness   frames, generated anchors, truth     likeness.csv beside the anchors
fusion     likeness of all anchors              results/anchors.csv, .md, .tex, .png
claims     metrics of many fits                 results/claims.csv, .md, .tex
page       frames, turning pictures, players    gallery.html: all scenes by all methods
study      orbits of all methods, frames        study/: a blind page for participants; study_key.json
preferences  saved answers, the study's key     results/table6.csv, .md, .tex
moments    frames, truth, sequences of methods  moments.png, .csv, rectification.png, .csv: methods side by side
curves     curves and counts of all fits        curves.png, counts.png
gallery    frames, sequences of a variant       gallery_<variant>.webp, .png
webtables  a table's Markdown                   the same as a page, for the report
report     whatever is worth looking at         results/report.html

The small priors, which no target but promote_priors asks for:

corpus       the embedded suite's training families    results/priors/<recipe>/corpus.npz, mean_views.png
autoencoder  corpus                                    autoencoder/, its curve
denoiser     corpus, autoencoder                       zero123plus/, zero123/ in the public layouts, curves/
holdout      one network, corpus                       quality.csv, quality_views.csv, quality.png, model_card.md
promote      all of these                              resources/priors/micro_zero123plus/, micro_zero123/

`python -m stages.viewer` shows sequences and checkpoints in the browser (extra [viewer]); it writes nothing.
`python -m stages.kernels` compiles the Numba kernels once, so that no job does; bootstrap.py types it.
"""
