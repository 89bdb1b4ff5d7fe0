module Tests.Language.StatisticsTests

open System
open Expecto
open SslResearch
open Tests.Support

let private near (expected: float) (actual: float) what =
    Expect.isTrue
        (abs (actual - expected) <= 1e-9 * max 1. (abs expected))
        $"{what}: expected {expected}, received {actual}"

[<Tests>]
let tests =
    testList
        "statistics"
        [
            for e in Golden.family "statistics" [ "mean_interval" ] do
                test $"golden {Golden.id e}" {
                    let values = Golden.input "x" e |> snd |> Array.toList
                    let expected = e.GetProperty "expected"
                    let bound = Golden.bound e true

                    let agrees (name: string) got =
                        Golden.agrees name (bound "rtol") (bound "atol") (expected.GetProperty(name).GetDouble()) got

                    let got = (Statistics.estimate values).Value
                    agrees "mean" got.Mean
                    agrees "half_width_95" got.Half.Value
                    agrees "sample_deviation" (Statistics.deviation values)
                    agrees "median" (Statistics.median values).Value
                }

            for id in [ "quantile.t.df1"; "quantile.t.df2"; "quantile.t.df4" ] do
                test $"golden {id}" {
                    let e = Golden.entry "statistics" id
                    let parameters = e.GetProperty "params"
                    let at = Golden.floats (parameters.GetProperty "p") |> Array.findIndex ((=) 0.975)
                    let want = (Golden.floats (e.GetProperty("expected").GetProperty "ppf"))[at]
                    let bound = Golden.bound e true
                    let n = parameters.GetProperty("df").GetInt32() + 1
                    Golden.agrees "0.975" (bound "rtol") (bound "atol") want (Statistics.quantile n)
                }

            test "quantiles of Student's t have closed forms for 1, 2 and 4 degrees of freedom" {
                let p = 0.975
                near (tan (Math.PI * (p - 0.5))) (Statistics.quantile 2) "1"
                near ((2. * p - 1.) * sqrt (2. / (4. * p * (1. - p)))) (Statistics.quantile 3) "2"
                let a = 4. * p * (1. - p)
                let q = cos (acos (sqrt a) / 3.) / sqrt a
                near (2. * sqrt (q - 1.)) (Statistics.quantile 5) "4"
            }

            test "two values: the interval is t times half their distance" {
                let e = (Statistics.estimate [ 60.; 62. ]).Value
                near 61. e.Mean "mean"
                near (tan (Math.PI * 0.475)) e.Half.Value "half width: deviation √2, over √2"
                Expect.equal e.Count 2 "count"
            }

            test "equal values have no width" {
                near 0. (Statistics.estimate [ 5.; 5.; 5. ]).Value.Half.Value "half width"
            }

            test "one value has no interval, none has no estimate" {
                Expect.equal (Statistics.estimate [ 5. ]) (Some { Mean = 5.; Half = None; Count = 1 }) "one"
                Expect.equal (Statistics.estimate []) None "none"
            }

            test "a large common part costs no digits" {
                let e = (Statistics.estimate [ 1e9 + 1.; 1e9 + 2.; 1e9 + 3. ]).Value
                near (Statistics.quantile 3 / sqrt 3.) e.Half.Value "half width"
            }

            test "medians" {
                Expect.equal (Statistics.median [ 3.; 1.; 2. ]) (Some 2.) "odd"
                Expect.equal (Statistics.median [ 4.; 1.; 2.; 3. ]) (Some 2.5) "even"
                Expect.equal (Statistics.median []) None "none"
            }
        ]
