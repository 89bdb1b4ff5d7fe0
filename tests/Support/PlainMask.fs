/// Views with hidden patches as plainly as can be, for tests of what is made of them: every image hides the same number, each its own.
module Tests.Support.PlainMask

open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Runtime
open SslResearch.Core.Views
open TorchSharp

type PlainMask =
    {
        Ops: Op list
        /// Side of a patch in pixels.
        Patch: int
        /// Hidden patches of an image.
        Hidden: int
    }

    interface IAugmentation<MaskedView> with
        member a.Build(source, normalisation) =
            let pipeline = Augmentation.pipeline source normalisation a.Ops
            let size = pipeline.Output
            let patches = size.Height / a.Patch * (size.Width / a.Patch)

            { new IAugmenter<MaskedView> with
                member _.Buffers =
                    [|
                        BufferSpec(
                            "images",
                            torch.float32,
                            1,
                            [| int64 size.Channels; int64 size.Height; int64 size.Width |]
                        )
                        BufferSpec("order", torch.int64, 1, [| int64 patches |])
                    |]

                member _.Render(sample, memory) =
                    let parameters = pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0)
                    pipeline.Render(sample.Pixels, &parameters, memory.Row<float32>(0, 0, sample.Slot))

                    let mutable random =
                        Philox(sample.Seed, RandomPurpose.Mask, uint32 sample.Epoch, uint32 sample.Index)

                    let drawn = Array.zeroCreate<int> patches
                    random.Permutation(System.Span drawn)
                    let order = memory.Row<int64>(1, 0, sample.Slot)

                    for i in 0 .. patches - 1 do
                        order[i] <- int64 drawn[i]

                member _.Assemble tensors =
                    MaskedView(tensors[0], tensors[1], patches - a.Hidden)
            }

        member a.Views = [ "view", a.Ops ]

        member a.Facts = [ "hidden", string a.Hidden ]

        member a.WithViews views = { a with Ops = List.exactlyOne views }

/// One view of each image that hides this many of its patches.
let plainMask patch hidden (ops: Op list) : IAugmentation<MaskedView> =
    {
        Ops = ops
        Patch = patch
        Hidden = hidden
    }
