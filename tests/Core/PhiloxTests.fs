module Tests.Core.PhiloxTests

open Expecto
open SslResearch.Core.Runtime

let private block c0 c1 c2 c3 k0 k1 =
    let struct (a, b, c, d) = Philox.Block(c0, c1, c2, c3, k0, k1)
    a, b, c, d

[<Tests>]
let tests =
    testList
        "philox"
        [
            test "published test vectors" {
                // Random123 distribution, kat_vectors, philox4x32 with 10 rounds.
                Expect.equal
                    (block 0u 0u 0u 0u 0u 0u)
                    (0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)
                    "zero counter, zero key"

                let m = 0xffffffffu

                Expect.equal (block m m m m m m) (0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu) "all ones"

                Expect.equal
                    (block 0x243f6a88u 0x85a308d3u 0x13198a2eu 0x03707344u 0xa4093822u 0x299f31d0u)
                    (0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)
                    "digits of pi"
            }

            test "positions do not share numbers" {
                let draw seed purpose epoch sample stream =
                    let mutable g = Philox(seed, purpose, epoch, sample, stream)
                    g.NextUInt32()

                let all =
                    [
                        for seed in [ 0UL; 1UL; 1UL <<< 32 ] do
                            for purpose in [ RandomPurpose.Weights; RandomPurpose.Order ] do
                                for epoch in 0u .. 3u do
                                    for sample in 0u .. 3u do
                                        for stream in 0us .. 3us do
                                            draw seed purpose epoch sample stream
                    ]

                Expect.equal (List.length (List.distinct all)) (List.length all) "all differ"
            }

            test "a permutation holds every position once" {
                let items = Array.zeroCreate<int> 1000
                let mutable g = Philox(7UL, RandomPurpose.Order)
                g.Permutation items
                Expect.equal (Array.sort items) [| 0..999 |] "each once"
                Expect.notEqual items [| 0..999 |] "shuffled"
            }

            test "moments of the distributions" {
                let mutable g = Philox(3UL, RandomPurpose.Weights)
                let n = 200_000
                let mutable mean, square, normal, normalSquare = 0., 0., 0., 0.

                for _ in 1..n do
                    let u = g.NextDouble()
                    mean <- mean + u
                    square <- square + u * u
                    let z = g.NextGaussian()
                    normal <- normal + z
                    normalSquare <- normalSquare + z * z

                let n = float n
                Expect.floatClose { absolute = 0.005; relative = 0. } (mean / n) 0.5 "uniform mean"
                Expect.floatClose { absolute = 0.005; relative = 0. } (square / n) (1. / 3.) "uniform second moment"
                Expect.floatClose { absolute = 0.01; relative = 0. } (normal / n) 0. "normal mean"
                Expect.floatClose { absolute = 0.02; relative = 0. } (normalSquare / n) 1. "normal variance"
            }
        ]
