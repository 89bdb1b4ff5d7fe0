namespace SslResearch

open SslResearch.Core.Models

/// An encoder's description. A new one is a record with this interface and a C# class.
type IBackbone =
    /// The network, on the CPU; its weights are set by whoever trains it.
    abstract Build: channels: int -> Backbone

    /// Layers that protocols can ask for, without building anything.
    abstract Layers: string list

    /// In words.
    abstract Describe: string

    abstract Problems: Problem list

    /// Problems with square images of this side, as views and in evaluation.
    abstract SideProblems: side: int -> Problem list

/// First layers of a ResNet.
type ResNetStem =
    /// 7×7 stride 2 and max-pool.
    | ImageNetStem
    /// 3×3 stride 1, padding 1, no max-pool.
    | CifarStem
    /// 3×3 stride 2, no max-pool.
    | CifarStemStride2

type ResNetBlock =
    | Basic
    | Bottleneck

/// He et al. 2016.
type ResNet =
    {
        Block: ResNetBlock
        /// Blocks of each stage.
        Blocks: int list
        /// Channels of the first stage; each further stage doubles them.
        Width: int
        Stem: ResNetStem
    }

    interface IBackbone with
        member r.Build channels =
            let block =
                match r.Block with
                | Basic -> ResidualBlock.Basic
                | Bottleneck -> ResidualBlock.Bottleneck

            let stem =
                match r.Stem with
                | ImageNetStem -> Stem.Imagenet
                | CifarStem -> Stem.Cifar
                | CifarStemStride2 -> Stem.CifarStride2

            new SslResearch.Core.Models.ResNet(ResNetOptions(block, List.toArray r.Blocks, r.Width, stem, channels))

        member r.Layers =
            [
                "stem"

                for i in 1 .. r.Blocks.Length - 1 do
                    $"layer{i}"

                Backbone.Output
            ]

        member r.Describe =
            let block = if r.Block = Basic then "basic" else "bottleneck"

            let stem =
                match r.Stem with
                | ImageNetStem -> "ImageNet stem"
                | CifarStem -> "3×3 stem"
                | CifarStemStride2 -> "3×3 stride-2 stem"

            let blocks = r.Blocks |> List.map string |> String.concat "-"
            $"ResNet {block} {blocks}, width {r.Width}, {stem}"

        member r.Problems =
            [
                if r.Blocks.IsEmpty then
                    Problem.make "Blocks" "no stages" "Give the number of blocks of each stage"

                for i, blocks in List.indexed r.Blocks do
                    yield! Problem.atLeast 1 $"Blocks[{i}]" blocks

                yield! Problem.atLeast 1 "Width" r.Width
            ]

        member _.SideProblems _ = []

[<AutoOpen>]
module Backbones =
    /// With the CIFAR stem, as CIFAR papers use it.
    let ResNet18: IBackbone =
        {
            Block = Basic
            Blocks = [ 2; 2; 2; 2 ]
            Width = 64
            Stem = CifarStem
        }

    /// With the CIFAR stem.
    let ResNet50: IBackbone =
        {
            Block = Bottleneck
            Blocks = [ 3; 4; 6; 3 ]
            Width = 64
            Stem = CifarStem
        }

    /// The CPU-scale encoder: three stages of one basic block, widths 32, 64, 128, 3×3 stride-2 stem; 0.31 M parameters.
    let SmallResNet: IBackbone =
        {
            Block = Basic
            Blocks = [ 1; 1; 1 ]
            Width = 32
            Stem = CifarStemStride2
        }
