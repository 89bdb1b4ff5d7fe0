namespace SslResearch

open System
open System.Threading
open SslResearch.Core.Data
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Training
open SslResearch.Core.Views
open TorchSharp

/// What kind of row a run is.
type RunKind =
    | Experiment
    | RandomInit
    | RawPixels

/// One line of a grid or comparison, closed over its batch type: labels, identity, and what to do for a seed.
[<NoEquality; NoComparison>]
type Run =
    internal
        {
            name: string
            labels: (string * string) list
            kind: RunKind
            reference: bool
            setting: Setting
            facts: (string * string) list
            needsLabels: bool
            layers: string list
            hasProjector: bool
            card: MethodCard option
            method: obj option
            views: (string * Op list) list
            trainData: Data
            needs: Run list
            canonical: Lazy<string>
            id: Lazy<string>
            trainId: Lazy<string>
            check: unit -> Problem list
            train: TrainSite -> TrainedEncoder
            rehearse: ImageStore -> torch.Device -> TrainedEncoder
        }

    /// For people; no part of the identity.
    member r.Name = r.name

    /// Its place on the axes of its grid.
    member r.Labels = r.labels

    member r.Kind = r.kind

    /// True for a row that is shown beside a comparison without being bound by its training budget.
    member r.IsReference = r.reference

    member r.Setting = r.setting

    /// Seeds that are run.
    member r.Seeds = r.setting.Seeds

    /// What the catalogue says of its method; None for baselines without one.
    member r.Card = r.card

    /// What to tell a reader about it, by name.
    member r.Facts = r.facts

    /// The operations of each of its views; empty for baselines.
    member r.Views = r.views

    /// What it is trained on, which need not be what it is scored on.
    member r.TrainData = r.trainData

    /// Its method learns from the labels of its training data.
    member r.NeedsLabels = r.needsLabels

    /// Runs that it builds on, with the same seed.
    member r.Needs = r.needs

    /// Everything that can change its results, seed and rounding apart.
    member r.CanonicalText = r.canonical.Value

    /// Hash of the canonical text.
    member r.Id = r.id.Value

    /// Hash of what can change the trained weights: runs that differ in their protocols alone share one training.
    member r.TrainId = r.trainId.Value

    /// Name and labels.
    member r.Title =
        match r.labels with
        | [] -> r.name
        | labels ->
            let places =
                labels
                |> List.map (fun (axis, value) -> $"{axis} {value}")
                |> String.concat ", "

            $"{r.name} [{places}]"

    /// Trains it, or takes it from its last checkpoint, at a site.
    member r.Train site = r.train site

    /// Builds it on images and takes one batch through it, without training: fails where the training would. The caller disposes the encoder.
    member r.Rehearse(images, device) = r.rehearse images device

    interface ITrainedRun with
        member r.Id = r.Id
        member r.Title = r.Title
        member r.Method = r.method

[<RequireQualifiedAccess>]
module Run =
    let private canonical kind (parts: (string * obj) list) =
        lazy
            (let kind =
                match kind with
                | Experiment -> "experiment"
                | RandomInit -> "random initialisation"
                | RawPixels -> "raw pixels"

             let body =
                 parts
                 |> List.map (fun (name, part) -> Canonical.text name part)
                 |> String.concat ""

             $"code = {Canonical.codeVersion}\nkind = {kind}\n{body}")

    let private make name kind (setting: Setting) parts =
        let training =
            [
                yield "Data", box setting.Data
                yield
                    "Normalisation",
                    match Data.constants setting.Data with
                    | Some stated -> box stated
                    | None -> box "of the training split"
                yield! parts
            ]

        let text = canonical kind (training @ [ "Protocols", box setting.Protocols ])
        let trainText = canonical kind training

        {
            name = name
            labels = []
            kind = kind
            reference = false
            setting = setting
            facts = [ "data", Data.describe setting.Data ]
            needsLabels = false
            layers = []
            hasProjector = false
            card = None
            method = None
            views = []
            trainData = setting.Data
            needs = []
            canonical = text
            id = lazy (Canonical.hash text.Value)
            trainId = lazy (Canonical.hash trainText.Value)
            check = fun () -> []
            train = fun _ -> invalidOp "nothing to train"
            rehearse = fun _ _ -> invalidOp "nothing to train"
        }

    /// Where the views of an experiment come from.
    let private trainData (e: Experiment<'Views>) =
        match box e.Augment with
        | :? ITrainsOn as other -> other.Data
        | _ -> e.Setting.Data

    /// The augmentation that makes the views.
    let private viewMaker (e: Experiment<'Views>) =
        match box e.Augment with
        | :? ITrainsOn as other -> other.Inner
        | itself -> itself

    /// Runs that an experiment's method builds on.
    let private needs (e: Experiment<'Views>) =
        match box e.Method with
        | :? IUsesRuns as user ->
            [
                for needed in user.Runs do
                    match needed with
                    | :? Run as run -> run
                    | other -> invalidOp $"{e.Name} builds on '{other.Title}', which is no run of this library"
            ]
        | _ -> []

    /// Images in a picture of what a method predicts.
    let private pictured = 8

    let private picture (e: Experiment<'Views>) (method: ISslMethod<'Views>) (site: TrainSite) =
        match box method with
        | :? IPictured<'Views> as showing ->
            Some(fun (images: ImageStore) ->
                let device = SslResearch.Core.Runtime.TorchRuntime.Device site.Device
                let augmenter = e.Augment.Build(images.Shape, Data.normalisation site.Train (trainData e))
                let count = min pictured images.Count

                use loader =
                    new Loader<'Views>(images, augmenter, LoaderOptions(count, site.Seed, 1, 1, true), device, 0L)

                use _ = torch.no_grad ()
                let context = StepContext(site.Seed, 0L, 1L, 0)
                showing.Picture(loader.Next().Views, &context))
        | _ -> None

    let private measure (e: Experiment<'Views>) (method: ISslMethod<'Views>) (site: TrainSite) =
        match box e.Method with
        | :? IMeasured<'Views> as measured ->
            Some(fun (images: ImageStore) ->
                measured.Measure(
                    method,
                    {
                        Test = images
                        Normalisation = Data.normalisation site.Train (trainData e)
                        Device = SslResearch.Core.Runtime.TorchRuntime.Device site.Device
                        Stop = site.Stop
                    }
                ))
        | _ -> None

    let private build (e: Experiment<'Views>) (images: ImageStore) seed device trained =
        e.Method.Build
            {
                Image = images.Shape
                Classes = images.ClassNames.Count
                Normalisation = Data.normalisation images (trainData e)
                Encoder = e.Setting.Backbone.Build images.Shape.Channels
                Seed = seed
                Device = device
                BatchSize = e.Setting.Train.BatchSize
                Trained = trained
            }

    /// Builds the method with its initial weights and takes one batch through it.
    let private rehearseExperiment
        (e: Experiment<'Views>)
        (images: ImageStore)
        (device: torch.Device)
        : TrainedEncoder =
        let untrained (needed: ITrainedRun) : IDisposable =
            match needed with
            | :? Run as run -> (run.rehearse images device).Owner
            | other -> invalidOp $"{e.Name} builds on '{other.Title}', which is no run of this library"

        let seed = 0UL
        let method = build e images seed device untrained

        try
            method.Initialise seed

            for struct (_, network) in method.Trained do
                network.``to`` device |> ignore
                network.train ()

            for teacher in method.Teachers do
                teacher.Teacher.``to`` device |> ignore

            let augmenter = e.Augment.Build(images.Shape, Data.normalisation images (trainData e))
            let batch = min e.Setting.Train.BatchSize images.Count
            use loader = new Loader<'Views>(images, augmenter, LoaderOptions(batch, seed, 1, 1, true), device, 0L)
            use _scope = torch.NewDisposeScope()
            let context = StepContext(seed, 0L, 1L, 0)
            method.Forward(loader.Next().Views, &context) |> ignore

            {
                Backbone = Some method.Encoder
                Projector = Option.ofObj method.Projector
                Outcome = None
                Picture = None
                Measure = None
                Owner = method
            }
        with _ ->
            method.Dispose()
            reraise ()

    let private trainExperiment (e: Experiment<'Views>) (site: TrainSite) =
        let train = e.Setting.Train
        let shape = site.Train.Shape
        let normalisation = Data.normalisation site.Train (trainData e)

        let method =
            build e site.Train site.Seed (SslResearch.Core.Runtime.TorchRuntime.Device site.Device) site.Trained

        try
            method.Initialise site.Seed

            let outcome =
                Trainer.Train<'Views>(
                    method,
                    site.Train,
                    e.Augment.Build(shape, normalisation),
                    TrainSite.options site train,
                    site.Progress,
                    site.Stop
                )

            {
                Backbone = Some method.Encoder
                Projector = Option.ofObj method.Projector
                Outcome = Some outcome
                Picture = picture e method site
                Measure = measure e method site
                Owner = method
            }
        with _ ->
            method.Dispose()
            reraise ()

    /// What the views' sizes make impossible, where the data's side is known without a look at the disk.
    let private viewProblems (e: Experiment<'Views>) =
        match Data.stored (trainData e), Data.constants (trainData e) with
        | None, _
        | _, None -> []
        | Some(height, width), Some normalisation ->
            try
                e.Augment.Build(ImageShape(height, width, normalisation.Mean.Length), normalisation)
                |> ignore

                []
            with :? ArgumentException as error ->
                let parameter = error.Message.LastIndexOf(" (Parameter", StringComparison.Ordinal)

                let text =
                    if parameter < 0 then
                        error.Message
                    else
                        error.Message.Substring(0, parameter)

                [
                    Problem.make "Augment" (text.TrimEnd '.') "Change sizes until the views can be made"
                ]

    /// A row that trains and is scored.
    let ofExperiment (e: Experiment<'Views>) : Run =
        let train = e.Setting.Train

        { make
              e.Name
              Experiment
              e.Setting
              [
                  "Backbone", box e.Setting.Backbone
                  "Train", box train
                  "Augment", box e.Augment
                  "Method", box e.Method
              ] with
            facts =
                [
                    yield "data", Data.describe e.Setting.Data
                    yield "encoder", e.Setting.Backbone.Describe
                    yield "method", e.Method.Card.Name
                    yield! e.Method.Facts
                    yield "augmentation", Augmentation.describe e.Augment
                    yield! e.Augment.Facts
                    yield "epochs", string train.Epochs
                    yield "batch", string train.BatchSize
                    yield "optimiser", Train.describeOptimiser train.Optimiser
                    yield "rate", Train.describeRate train
                    yield "warm-up", Problem.number train.WarmupFraction
                ]
            needsLabels = typeof<'Views> = typeof<LabelledView>
            layers = e.Setting.Backbone.Layers
            hasProjector = e.Method.HasProjector
            card = Some e.Method.Card
            method = Some(box e.Method)
            views = e.Augment.Views
            trainData = trainData e
            needs = needs e
            check =
                fun () ->
                    [
                        let ofOps = Augmentation.problems e.Augment
                        yield! ofOps |> Problem.within "Augment"

                        let ofData =
                            if trainData e = e.Setting.Data then
                                []
                            else
                                Data.problems (trainData e)

                        yield! ofData |> Problem.within "Augment.Data"

                        if ofOps.IsEmpty && ofData.IsEmpty then
                            yield! viewProblems e

                        yield!
                            e.Augment
                            |> Augmentation.sideProblems e.Setting.Backbone.SideProblems
                            |> Problem.within "Augment"

                        yield! e.Method.Problems |> Problem.within "Method"

                        match box e.Method, e.Setting.Backbone with
                        | (:? INeedsVisionTransformer), backbone when not (backbone :? Vit) ->
                            Problem.make
                                "Setting.Backbone"
                                $"{e.Method.Card.Name} hides patches from its encoder, and {backbone.Describe} takes only whole images"
                                "Give a vision transformer, such as SmallVit"
                        | _ -> ()

                        match viewMaker e with
                        | :? TwoViewsOf as views when views.First.IsEmpty && views.Second.IsEmpty ->
                            Problem.make
                                "Augment"
                                "two views without an operation are the same image twice"
                                "Give operations that draw something"
                        | _ -> ()

                        match viewMaker e, e.Setting.Backbone with
                        | (:? IPatched as patched), (:? Vit as vit) when
                            vit.Patch > 0
                            && (patched.Patch % vit.Patch <> 0
                                || patched.Patch <> vit.Patch && (box e.Method :? INeedsVisionTransformer))
                            ->
                            Problem.make
                                "Augment.Patch"
                                $"hides patches of {patched.Patch} pixels from an encoder with patches of {vit.Patch}"
                                "Give both the same patch"
                        | _ -> ()
                    ]
            train = trainExperiment e
            rehearse = rehearseExperiment e
        }

    let private initial (setting: Setting) (images: ImageStore) seed : TrainedEncoder =
        let encoder = setting.Backbone.Build images.Shape.Channels
        SeededInitialisation.Apply(encoder, seed, "encoder")

        {
            Backbone = Some encoder
            Projector = None
            Outcome = None
            Picture = None
            Measure = None
            Owner = encoder
        }

    /// The encoder with its initial weights, the same ones that training starts from with that seed.
    let randomInit (setting: Setting) : Run =
        { make "random initialisation" RandomInit setting [ "Backbone", box setting.Backbone ] with
            facts =
                [
                    "data", Data.describe setting.Data
                    "encoder", setting.Backbone.Describe
                    "epochs", "0"
                ]
            layers = setting.Backbone.Layers
            train = fun site -> initial setting site.Train site.Seed
            rehearse = fun images _ -> initial setting images 0UL
        }

    let private pixels: TrainedEncoder =
        {
            Backbone = None
            Projector = None
            Outcome = None
            Picture = None
            Measure = None
            Owner =
                { new IDisposable with
                    member _.Dispose() = ()
                }
        }

    /// The normalised pixels as features. Runs with the first seed only: k-NN has no chance in it, and the linear probe only
    /// its held-out part.
    let rawPixels (setting: Setting) : Run =
        { make
              "raw pixels"
              RawPixels
              { setting with
                  Seeds = List.truncate 1 setting.Seeds
              }
              [] with
            layers = [ Backbone.Output ]
            train = fun _ -> pixels
            rehearse = fun _ _ -> pixels
        }

    /// The same run under another name.
    let named name (run: Run) = { run with name = name }

    /// Marks a row that a comparison shows without holding it to its training budget (a supervised reference with fewer epochs).
    let reference (run: Run) = { run with reference = true }

    /// Ends the training as soon as it is found collapsed, instead of spending the rest of its budget: another run than the one
    /// that goes on.
    let stopAtCollapse (run: Run) =
        let stops = "stops at collapse\n"
        let canonical = lazy (run.canonical.Value + stops)

        { run with
            canonical = canonical
            id = lazy (Canonical.hash canonical.Value)
            trainId = lazy (Canonical.hash (run.trainId.Value + stops))
            train = fun site -> run.train { site with StopAtCollapse = true }
        }

    /// The run of a cell, labelled by its place.
    let ofCell (cell: Cell<'Views>) =
        { ofExperiment cell.Experiment with
            labels = cell.Labels
        }

    /// The run after all that it builds on, directly or not.
    let rec internal withNeeds (run: Run) : Run list =
        List.collect withNeeds run.Needs @ [ run ]

    /// Does the encoder serve a protocol's layer?
    let internal serves (run: Run) layer =
        if layer = Protocol.Projection then
            run.hasProjector
        else
            List.contains layer run.layers

    /// Protocols that this run is scored by: its setting's, where a baseline without a projection head leaves out z.
    let protocols (run: Run) =
        match run.kind with
        | Experiment -> run.setting.Protocols
        | RandomInit ->
            run.setting.Protocols
            |> List.filter (fun p -> Protocol.layer p <> Protocol.Projection)
        | RawPixels ->
            run.setting.Protocols
            |> List.filter (fun p -> Protocol.layer p = Backbone.Output && not (Protocol.trainsEncoder p))
