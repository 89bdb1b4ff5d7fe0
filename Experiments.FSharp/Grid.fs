namespace SslResearch

open SslResearch.Core.Views

/// One value of an axis.
type AxisValue<'Views when 'Views: not struct and 'Views :> IViews> =
    {
        Label: string
        Apply: Experiment<'Views> -> Experiment<'Views>
    }

/// Something that is varied over experiments. Tables refer to the axis itself, not to its name.
type Axis<'Views when 'Views: not struct and 'Views :> IViews> =
    {
        Name: string
        Values: AxisValue<'Views> list
    }

/// One experiment of a grid with its place in it: axis names and value labels, in the order of the axes.
type Cell<'Views when 'Views: not struct and 'Views :> IViews> =
    {
        Labels: (string * string) list
        Experiment: Experiment<'Views>
    }

[<RequireQualifiedAccess>]
module Axis =
    let private label (value: obj) =
        match value with
        | :? string as s -> s
        | :? float as x -> Problem.number x
        | :? System.IFormattable as f -> f.ToString(null, System.Globalization.CultureInfo.InvariantCulture)
        | null -> "none"
        | other -> $"%A{other}".ReplaceLineEndings " "

    /// Values with a label each.
    let labelled name (values: (string * 'Value) list) (change: 'Value -> Experiment<'Views> -> Experiment<'Views>) =
        {
            Name = name
            Values = [ for label, value in values -> { Label = label; Apply = change value } ]
        }

    /// One experiment for each value, labelled by the value.
    let sweep name (values: 'Value list) (change: 'Value -> Experiment<'Views> -> Experiment<'Views>) =
        labelled name [ for v in values -> label (box v), v ] change

    /// The whole augmentation, then the augmentation without each of its operations.
    let leaveOneOut (augmentation: IAugmentation<'Views>) : Axis<'Views> =
        labelled
            "augmentation"
            [
                yield "all", augmentation

                for name, rest in Augmentation.leaveOneOut augmentation do
                    yield "without " + name, rest
            ]
            (fun augmentation e -> { e with Augment = augmentation })

[<RequireQualifiedAccess>]
module Grid =
    /// Every combination of the axes' values, the last axis fastest.
    let cells (experiment: Experiment<'Views>) (axes: Axis<'Views> list) : Cell<'Views> list =
        let start = [ { Labels = []; Experiment = experiment } ]

        axes
        |> List.fold
            (fun cells axis ->
                [
                    for cell in cells do
                        for value in axis.Values do
                            {
                                Labels = cell.Labels @ [ axis.Name, value.Label ]
                                Experiment = value.Apply cell.Experiment
                            }
                ])
            start
