/// First and last values of everything that changes over a training, for every short one.
module Tests.Core.ScheduleTests

open System
open Expecto
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Training

let private lengths = [ 1L .. 20L ]
let private fractions = [ for i in 0..20 -> float i / 20. ]

let private near = { absolute = 1e-15; relative = 1e-12 }

/// Every value lies between both, and none turns back.
let private between what a b (values: float list) =
    for v in values do
        Expect.isTrue (v >= min a b - 1e-12 && v <= max a b + 1e-12) $"{what}: {v}"

    for x, y in List.pairwise values do
        Expect.isTrue ((y - x) * float (sign (b - a)) >= -1e-12) $"{what} turns back: {x}, {y}"

[<Tests>]
let tests =
    testList
        "schedules, first to last"
        [
            test "rates: part of the peak first, the final one last" {
                for total in lengths do
                    for fraction in fractions do
                        let schedule = RateSchedule(0.4, fraction, 0.01, total)
                        let what = $"{total} steps, warm-up {fraction}"
                        let warmup = schedule.WarmupSteps
                        Expect.isTrue (warmup >= 0L && warmup <= total) what

                        Expect.floatClose
                            near
                            (schedule.At 0L)
                            (if warmup = 0L then 0.4
                             elif warmup < total || total > 1L then 0.4 / float warmup
                             else 0.4)
                            $"{what}: first"

                        let last = if warmup = total || total = 1L then 0.4 else 0.01
                        Expect.floatClose near (schedule.At(total - 1L)) last $"{what}: last"
                        Expect.equal (schedule.At total) 0.01 $"{what}: behind the last"
                        between $"{what}: up" 0. 0.4 [ for s in 0L .. warmup - 1L -> schedule.At s ]
                        between $"{what}: down" 0.4 0.01 [ for s in warmup .. total - 1L -> schedule.At s ]
            }

            test "momentum of teachers: from the start at the first step to the final one after the last" {
                for total in lengths do
                    let at step =
                        MovingAverage.Rising(0.9, 1., step, total)

                    Expect.floatClose near (at 0L) 0.9 "first"
                    Expect.floatClose near (at total) 1. "after the last"
                    between $"{total} steps" 0.9 1. [ for s in 0L .. total -> at s ]
            }

            test "the teacher's temperature: both ends within the warm-up" {
                for warmup in 0L .. 20L do
                    let at step =
                        DinoLoss.TeacherTemperature(0.04, 0.07, warmup, step)

                    Expect.floatClose near (at 0L) (if warmup > 0L then 0.04 else 0.07) "first"

                    if warmup > 1L then
                        Expect.floatClose near (at (warmup - 1L)) 0.07 "last of the warm-up"

                    Expect.equal (at warmup) 0.07 "after it"
                    between $"{warmup} steps" 0.04 0.07 [ for s in 0L .. 20L -> at s ]
            }

            test "temperature of draws and weight of the divergence: from the first step to the end of their change" {
                for steps in 0L .. 20L do
                    let temperature step =
                        GumbelSoftmax.Temperature(1., 0.0625, steps, step)

                    let weight step =
                        UniformDivergence.Weight(0.5, steps, step)

                    Expect.floatClose near (temperature 0L) (if steps > 0L then 1. else 0.0625) "first temperature"
                    Expect.floatClose near (weight 0L) (if steps > 0L then 0. else 0.5) "first weight"
                    Expect.equal (temperature steps) 0.0625 "last temperature"
                    Expect.equal (weight steps) 0.5 "last weight"
                    between $"temperature, {steps}" 1. 0.0625 [ for s in 0L .. 20L -> temperature s ]
                    between $"weight, {steps}" 0. 0.5 [ for s in 0L .. 20L -> weight s ]
            }

            test "so many of the first steps as the part says, whatever multiplication adds" {
                for total in lengths do
                    for hundredths in 0..100 do
                        let part = float hundredths / 100.
                        // Steps that begin before part · total, in whole numbers.
                        let want =
                            [
                                for s in 0L .. total - 1L do
                                    if s * 100L < int64 hundredths * total then
                                        s
                            ]

                        let got =
                            [
                                for s in 0L .. total - 1L do
                                    if StepContext(0UL, s, total, 0).IsWithin part then
                                        s
                            ]

                        Expect.equal got want $"{part} of {total}"
            }
        ]
