/// Values that several tests of the language share.
module Tests.Support.Samples

open System
open SslResearch

let knn = Knn(k = 20, temperature = 0.1)
let probe = LinearProbe(epochs = 100)

let setting: Setting =
    {
        Data =
            Shapes
                {
                    Train = 1000
                    Test = 200
                    Size = 32
                    Seed = 1UL
                    Statistics = Independent
                }
        Backbone = SmallResNet
        Train = Train.CpuScale
        Protocols = [ knn; probe ]
        Seeds = [ 0; 1; 2 ]
    }

let view = [ ResizedCrop(0.2, 1.0); Flip 0.5; Jitter(0.8, 0.5); Gray 0.2 ]

let simclr =
    {
        Name = "simclr"
        Setting = setting
        Augment = twoViews view
        Method = SimClr.CpuCifar
    }

let supervised =
    {
        Name = "supervised"
        Setting = setting
        Augment = labelled view
        Method = Supervised
    }

let recipe name tables : Recipe =
    {
        Name = name
        Summary = "a sample"
        Tables = tables
    }

/// A stored run with these scores.
let stored (run: Run) seed (scores: (Protocol * float) list) : StoredRun =
    let trained = run.Kind = RunKind.Experiment

    {
        RunId = run.Id
        Seed = seed
        Name = run.Name
        Labels = run.Labels
        Canonical = run.CanonicalText
        Verdict = if trained then "learned" else "untrained"
        Scores =
            [
                for protocol, value in scores ->
                    {
                        Protocol = Protocol.name protocol
                        Value = value
                        Details = [ "l2", 0.001 ]
                    }
            ]
        Failures = []
        Measures = []
        Picture = None
        Training =
            {
                Loss = if trained then 4.125 else nan
                Chance = if trained then 6.236 else nan
                Collapsed = nan
                Deviation = 0.91
                RankMe = 57.5
                Steps = if trained then 390L else 0L
                Seconds = if trained then 84.5 + float seed else 0.
                ImagesPerSecond = if trained then 1012.25 else nan
                Budget = if trained then 390L else 0L
                CollapsedSince = None
                PeakMemory = 512L * 1024L * 1024L
                Curve =
                    [
                        for i in 1 .. (if trained then 4 else 0) ->
                            {
                                Step = int64 (i * 90)
                                Loss = 6.2 - float i * 0.5 + float seed * 0.01
                                Deviation = 0.9
                                RankMe = 50.
                            }
                    ]
            }
        EvaluationSeconds = 3.5
        Dataset =
            {
                Name = "shapes"
                TrainCount = 1000
                TestCount = 200
                TrainFingerprint = "aaaabbbbccccddddeeee"
                TestFingerprint = "1111222233334444"
                Normalisation = None
            }
        TrainedOn = None
        Provenance =
            {
                Device = "cpu"
                Threads = 2
                Cpu = "Sample CPU \"x\""
                Cores = 2
                Commit = "0123456789ab"
                Dirty = false
                Versions = [ "sslr", "0.1.0"; "libtorch", "2.10.0" ]
                Started = DateTime(2030, 1, 2, 3, 4, 5, DateTimeKind.Utc)
                Ended = DateTime(2030, 1, 2, 3, 6, 5, DateTimeKind.Utc)
                Starts = 1
            }
    }
