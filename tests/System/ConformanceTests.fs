/// Which reference values are applied: all that tests take (`Golden.entry`, `family`, `choose`), and the others are listed here.
module Tests.Framework.ConformanceTests

open Expecto
open Tests.Support

/// Families of values for which there is no code: not built yet.
let private notBuilt =
    [
        "losses", [ "align_uniform"; "clip"; "dcl"; "gpt"; "mlm"; "siglip"; "supcon_solo" ]
        "images",
        [
            "resize_shorter_center_crop"
            "equalize"
            "posterize"
            "autocontrast"
            "invert"
            "pad4_crop"
            "pad4_reflect"
        ]
        "models", [ "clip"; "nanogpt" ]
        "tokens",
        [
            yield! [ for i in 0..11 -> $"full_{i}" ]
            "full_context77_truncated"
            "mini_vocab"
            yield! [ for i in 0..6 -> $"mini_{i}" ]
        ]
        "protocols",
        [
            "align_uniform"
            "alpha_req"
            "attention"
            "caption_retrieval"
            "classification"
            "clustering"
            "cutmix"
            "drop_path"
            "effective_rank"
            "kmeans"
            "knn_euclidean"
            "layer_decay"
            "lidar"
            "mixup"
            "multilabel"
            "participation_ratio"
            "pca"
            "perplexity"
            "retrieval"
            "ridge"
            "std_of_l2_normalised"
            "trustworthiness"
            "tsne"
        ]
        "statistics",
        [
            "bootstrap"
            "correlation"
            "effect_size"
            "friedman"
            "iqm"
            "multiple_testing"
            "nemenyi"
            "paired_t"
            "proportion"
            "tost"
            "welch_t"
            "wilcoxon"
        ]
    ]

/// Entries not built of families of which others are.
let private without =
    [
        "images", [ "crop_resize.bilinear_no_antialias" ]
        // Schedules of peers that ours is not: lightly's warm-up and cosine, solo-learn's rise of a teacher's momentum.
        "optim",
        [
            "schedule.cosine_period.lightly"
            "schedule.warmup_cosine.solo"
            "schedule.warmup_cosine.mae"
            "schedule.cosine.dino"
            "schedule.weight_decay.dino"
        ]
        "statistics",
        [
            "quantile.normal"
            "quantile.t.df29.5"
            "quantile.t.df1e+06"
            "quantile.studentized_range.k2.df5"
            "quantile.studentized_range.k3.df10"
            "quantile.studentized_range.k5.df20"
            "quantile.studentized_range.k10.df60"
            "quantile.studentized_range.k4.dfinf"
            "quantile.chi2_f.a"
        ]
    ]

let private listed topic names =
    names |> List.filter (fst >> (=) topic) |> List.collect snd

let private isListed topic id =
    List.contains (Golden.familyOf id) (listed topic notBuilt)
    || List.contains id (listed topic without)

/// After a run of all tests: entries that none of them took though they are not listed, or that one took though they are.
let complaints () =
    [
        for topic in Golden.topics do
            let untaken = set (Golden.untaken topic)

            for id in Golden.ids topic do
                match isListed topic id, untaken.Contains id with
                | false, true -> $"{topic}: no test takes {id}, and ConformanceTests doesn't list it as not built"
                | true, false -> $"{topic}: a test takes {id}, which ConformanceTests lists as not built"
                | _ -> ()
    ]

[<Tests>]
let tests =
    testList
        "conformance"
        [
            for topic in Golden.topics do
                test $"what {topic} lacks is listed by names that are there" {
                    let ids = Golden.ids topic
                    let families = ids |> List.map Golden.familyOf |> set
                    Expect.all (listed topic notBuilt) families.Contains "families"
                    Expect.all (listed topic without) (fun id -> List.contains id ids) "entries"
                }
        ]
