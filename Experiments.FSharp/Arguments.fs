namespace SslResearch

open Argu

/// Texts that several verbs share.
module private Usage =
    let results = "folder of stored results (default: results)."
    let data = "data root (default: SSLR_DATA, then a folder in the user's cache)."
    let torchLib = "folder of another libtorch (an existing PyTorch's torch/lib)."

    let split =
        "the split that a source without train/ and test/ (or val/) becomes, or the missing one that it adds."

    let replace = "replace what is there under that name: the split of --split, or else the whole dataset."

    let ignoreOrientation =
        "leave images as they are stored instead of turning them as their orientation tag says."

    let resize = "N: shorter side to N, then the middle square; HxW: exactly."
    let channels = "3 or 1 (default: what the source has)."

type ListArguments =
    | [<MainCommand; Unique>] Recipe of recipe: string
    | [<Unique; EqualsAssignmentOrSpaced>] Results of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Recipe _ -> "also name its runs."
            | Results _ -> Usage.results

type CheckArguments =
    | [<MainCommand; Unique>] Recipe of recipe: string
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Recipe _ -> "check only this recipe, its datasets included."
            | Data _ -> Usage.data

type RunArguments =
    | [<MainCommand; ExactlyOnce>] Recipe of recipe: string
    | [<Unique; EqualsAssignmentOrSpaced>] Only of run_id: string
    | [<Unique; EqualsAssignmentOrSpaced>] Seeds of list: string
    | [<Unique; EqualsAssignmentOrSpaced>] Device of device: string
    | [<Unique; EqualsAssignmentOrSpaced>] Threads of n: int
    | [<Unique; EqualsAssignmentOrSpaced>] Workers of n: int
    | [<Unique; EqualsAssignmentOrSpaced>] Checkpoint_Every of steps: int
    | [<Unique; EqualsAssignmentOrSpaced>] Results of dir: string
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string
    | [<Unique; EqualsAssignmentOrSpaced>] Torch_Lib of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Recipe _ -> "name of the recipe; `sslr list` names them."
            | Only _ -> "only the runs whose id starts so; `sslr list RECIPE` names them."
            | Seeds _ -> "these seeds instead of the recipe's: 0,1,2 or 0-4."
            | Device _ -> "cpu (default), cuda or cuda:n."
            | Threads _ -> "threads inside one operation (default: all cores)."
            | Workers _ -> "threads that render batches; changes no result."
            | Checkpoint_Every _ -> "steps between checkpoints (default: 200)."
            | Results _ -> Usage.results
            | Data _ -> Usage.data
            | Torch_Lib _ -> Usage.torchLib

type TablesArguments =
    | [<MainCommand; Unique>] Recipe of recipe: string
    | [<Unique; EqualsAssignmentOrSpaced>] Results of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Recipe _ -> "only this recipe."
            | Results _ -> Usage.results

type ShowArguments =
    | [<MainCommand; ExactlyOnce>] Recipe of recipe: string
    | [<Unique; EqualsAssignmentOrSpaced>] Only of run_id: string
    | [<Unique; EqualsAssignmentOrSpaced>] Images of n: int
    | [<Unique; EqualsAssignmentOrSpaced>] Epochs of n: int
    | [<Unique; EqualsAssignmentOrSpaced>] Seed of n: int
    | [<Unique; EqualsAssignmentOrSpaced>] Out of file: string
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string
    | Trained
    | [<Unique; EqualsAssignmentOrSpaced>] Results of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Recipe _ -> "name of the recipe."
            | Only _ -> "the run whose views to show (default: the first that has views)."
            | Images _ -> "images on the sheet (default: 8)."
            | Epochs _ -> "epochs whose views stand side by side (default: 3)."
            | Seed _ -> "seed of the run (default: 0)."
            | Out _ -> "PNG file to write (default: RECIPE.png)."
            | Trained -> "what the method of a finished run predicts, instead of its views."
            | Results _ -> "with --trained: where the run is (default: results)."
            | Data _ -> Usage.data

type ImportArguments =
    | [<MainCommand; ExactlyOnce>] Source of name: string * source: string
    | [<Unique; EqualsAssignmentOrSpaced>] Split of name: string
    | [<Unique; EqualsAssignmentOrSpaced>] Resize of size: string
    | [<Unique; EqualsAssignmentOrSpaced>] Channels of n: int
    | [<Unique; EqualsAssignmentOrSpaced>] Frames of n: int
    | [<Unique; EqualsAssignmentOrSpaced>] Frame_Stride of n: int
    | Skip_Corrupt
    | Replace
    | Ignore_Orientation
    | [<Unique; EqualsAssignmentOrSpaced>] Sha256 of digits: string
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Source _ -> "name to give it, and a folder, .tar, .tar.gz or .zip."
            | Split _ -> Usage.split
            | Resize _ -> Usage.resize
            | Channels _ -> Usage.channels
            | Frames _ -> "clips of so many frames, from folders that each hold the frames of one film."
            | Frame_Stride _ -> "keep every n-th frame of a film (default: 1)."
            | Replace -> Usage.replace
            | Skip_Corrupt -> "leave out images that cannot be decoded, and clips with such frames, instead of failing."
            | Ignore_Orientation -> Usage.ignoreOrientation
            | Sha256 _ -> "expected SHA-256 of the source file."
            | Data _ -> Usage.data

type FetchArguments =
    | [<MainCommand; ExactlyOnce>] Name of name: string
    | [<Unique; EqualsAssignmentOrSpaced>] Url of url: string
    | [<Unique; EqualsAssignmentOrSpaced>] Sha256 of digits: string
    | [<Unique; EqualsAssignmentOrSpaced>] Split of name: string
    | [<Unique; EqualsAssignmentOrSpaced>] Resize of size: string
    | [<Unique; EqualsAssignmentOrSpaced>] Channels of n: int
    | Skip_Corrupt
    | Replace
    | Ignore_Orientation
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Name _ -> "a known public dataset (cifar10, cifar100, …), or the name for what --url gives."
            | Url _ -> "archive to download; needs --sha256."
            | Sha256 _ -> "its SHA-256."
            | Split _ -> Usage.split
            | Resize _ -> Usage.resize
            | Channels _ -> Usage.channels
            | Replace -> Usage.replace
            | Skip_Corrupt -> "leave out images that cannot be decoded instead of failing."
            | Ignore_Orientation -> Usage.ignoreOrientation
            | Data _ -> Usage.data

type VerifyArguments =
    | [<MainCommand; Unique>] Name of name: string
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Name _ -> "only this dataset."
            | Data _ -> Usage.data

type InfoArguments =
    | [<MainCommand; Unique>] Name of name: string
    | Stats
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Name _ -> "only this dataset."
            | Stats -> "mean and deviation of each channel, for values scaled to 0 … 1."
            | Data _ -> Usage.data

type DataArguments =
    | [<CliPrefix(CliPrefix.None)>] Import of ParseResults<ImportArguments>
    | [<CliPrefix(CliPrefix.None)>] Fetch of ParseResults<FetchArguments>
    | [<CliPrefix(CliPrefix.None)>] Info of ParseResults<InfoArguments>
    | [<CliPrefix(CliPrefix.None)>] Verify of ParseResults<VerifyArguments>

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Import _ -> "bring in class folders, folders of frames, CIFAR or idx files."
            | Fetch _ -> "download, verify and import a public dataset."
            | Info _ -> "what is there."
            | Verify _ -> "read everything and compare it with its fingerprint."

type EnvArguments =
    | [<Unique; EqualsAssignmentOrSpaced>] Torch_Lib of dir: string
    | [<Unique; EqualsAssignmentOrSpaced>] Data of dir: string

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | Torch_Lib _ -> Usage.torchLib
            | Data _ -> Usage.data

type Arguments =
    | [<CliPrefix(CliPrefix.None)>] List of ParseResults<ListArguments>
    | [<CliPrefix(CliPrefix.None)>] Check of ParseResults<CheckArguments>
    | [<CliPrefix(CliPrefix.None)>] Run of ParseResults<RunArguments>
    | [<CliPrefix(CliPrefix.None)>] Tables of ParseResults<TablesArguments>
    | [<CliPrefix(CliPrefix.None)>] Show of ParseResults<ShowArguments>
    | [<CliPrefix(CliPrefix.None)>] Data of ParseResults<DataArguments>
    | [<CliPrefix(CliPrefix.None)>] Env of ParseResults<EnvArguments>

    interface IArgParserTemplate with
        member a.Usage =
            match a with
            | List _ -> "name the recipes, or the runs of one."
            | Check _ -> "find mistakes in recipes without running them."
            | Run _ -> "run what a recipe still lacks, then render its tables."
            | Tables _ -> "render tables from stored runs."
            | Show _ -> "draw a contact sheet of a recipe's views."
            | Data _ -> "import, fetch, inspect and verify datasets."
            | Env _ -> "versions, devices, threads, and where libtorch came from."
