/// Folders for small studies that are really run.
module Tests.Support.Studies

open System.IO
open SslResearch

/// Options of runs whose results and data lie in a folder of their own, which is gone afterwards.
let inFolder (body: RunOptions -> unit) =
    let folder = Directory.CreateTempSubdirectory "sslr-study-"

    try
        body
            {
                Results = Path.Combine(folder.FullName, "results")
                DataRoot = Path.Combine(folder.FullName, "data")
                Device = "cpu"
                Threads = None
                Workers = 1
                TorchLibrary = None
                CheckpointEvery = 3
                Only = None
                Seeds = None
            }
    finally
        folder.Delete true
