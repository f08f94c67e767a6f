;; Vectors at the edge of memory.
;; @limits time=150ms
;; @may-refuse invalid "SIMD|feature"
;; @call load => trap "out of bounds memory access"
;; @call store_lane => trap "out of bounds memory access"
;; @call spin => time "ran longer than 150ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1 1)
  (func (export "load") (drop (v128.load (i32.const 65521))))
  (func (export "store_lane") (v128.store64_lane 1 (i32.const 65529) (v128.const i64x2 1 2)))
  (func (export "spin") (loop (v128.store (i32.const 0) (i8x16.add (v128.load (i32.const 0)) (v128.const i64x2 1 2))) (br 0)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
