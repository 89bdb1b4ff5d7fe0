/// A discrete autoencoder learns, in a few seconds: what it is for, and what it must not do, collapse to a few words.
module Tests.Language.DvaeTrainingTests

open System
open System.IO
open System.Threading
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Data
open SslResearch.Core.Training
open SslResearch.Core.Views

let private setting: Setting =
    {
        Data =
            Shapes
                {
                    Train = 1024
                    Test = 256
                    Size = 16
                    Seed = 5UL
                    Statistics = Independent
                }
        Backbone =
            {
                Block = Basic
                Blocks = [ 1; 1 ]
                Width = 16
                Stem = CifarStemStride2
            }
        Train =
            { Train.CpuScale with
                Epochs = 15
                BatchSize = 64
                Optimiser = AdamW AdamWRule.Default
                Rate = Rate.Fixed 3e-3
            }
        Protocols = [ Knn(k = 5, temperature = 0.1) ]
        Seeds = [ 0 ]
    }

let private run =
    Run.ofExperiment
        {
            Name = "words"
            Setting = setting
            Augment = oneView [ Flip 0.5 ]
            Method =
                { Dvae.CpuCifar with
                    Vocabulary = 64
                    CodeWidth = 32
                    Decoder = [ 32; 16; 16 ]
                }
        }

/// All images of a split, as they are.
let private images (store: ImageStore) =
    let augmenter = (oneView []).Build(store.Shape, Data.normalisation store setting.Data)

    use loader =
        new Loader<OneView>(store, augmenter, LoaderOptions(store.Count, 0UL, 1, 1, true), torch.device "cpu", 0L)

    loader.Next().Views.Images.clone()

[<Tests>]
let tests =
    testList
        "dvae training"
        [
            test "a short training gives images back from words and uses at least half of them" {
                let folder = Directory.CreateTempSubdirectory "sslr-words-"

                try
                    use splits = Datasets.openSplits (Path.Combine(folder.FullName, "data")) setting.Data

                    use trained =
                        run.Train
                            {
                                Train = splits.Train
                                Seed = 3UL
                                Device = "cpu"
                                Workers = 1
                                CheckpointEvery = 1000
                                StopAtCollapse = false
                                Folder = Path.Combine(folder.FullName, "work")
                                Progress =
                                    { new IProgress<StepReport> with
                                        member _.Report _ = ()
                                    }
                                Stop = CancellationToken.None
                                Trained = fun _ -> invalidOp "it builds on nothing"
                            }

                    let method = trained.Owner :?> SslResearch.Core.Methods.Dvae
                    use test = images splits.Test
                    let struct (psnr, usage) = method.Quality test
                    // Their mean colour alone gives about 12 dB.
                    Expect.isGreaterThan psnr 15. $"PSNR {psnr}, usage {usage}"
                    Expect.isGreaterThanOrEqual usage 0.5 $"PSNR {psnr}, usage {usage}"
                    let outcome = trained.Outcome.Value
                    Expect.equal outcome.Verdict Verdict.Learned "verdict"

                    match trained.Picture with
                    | None -> failtest "it has something to show"
                    | Some picture ->
                        use shown = (picture splits.Test).Images
                        Expect.equal shown.shape[1..] [| 3L; 3L; 16L; 16L |] "input, words, decoded"
                finally
                    folder.Delete true
            }
        ]
