;; Every trap of WebAssembly.
;; @call unreachable => trap "unreachable"
;; @call divide => trap "integer divide by zero"
;; @call overflow => trap "integer overflow"
;; @call truncate => trap "invalid conversion to integer"
;; @call load => trap "out of bounds memory access"
;; @call store => trap "out of bounds memory access"
;; @call far => trap "out of bounds memory access"
;; @call table => trap "invalid table access"
;; @call null => trap "invalid table access"
;; @call signature => trap "indirect call type mismatch"
;; @call init => trap "out of bounds memory access"
;; @call table_init => trap "invalid table access"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (type $f (func))
  (memory 1 1)
  (data $passive "four")
  (table 2 2 funcref)
  (elem (i32.const 0) $one)
  (elem $later func $one)
  (func $one (result i32) (i32.const 1))
  (func (export "unreachable") (unreachable))
  (func (export "divide") (drop (i32.div_s (i32.const 1) (i32.const 0))))
  (func (export "overflow") (drop (i32.div_s (i32.const 0x80000000) (i32.const -1))))
  (func (export "truncate") (drop (i32.trunc_f64_s (f64.const nan))))
  (func (export "load") (drop (i64.load (i32.const 65529))))
  (func (export "store") (i32.store8 (i32.const 65536) (i32.const 1)))
  (func (export "far") (i32.store offset=0xffffffff (i32.const -1) (i32.const 1)))
  (func (export "table") (call_indirect (type $f) (i32.const 2)))
  (func (export "null") (call_indirect (type $f) (i32.const 1)))
  (func (export "signature") (call_indirect (type $f) (i32.const 0)))
  (func (export "init") (memory.init $passive (i32.const 0) (i32.const 1) (i32.const 4)))
  (func (export "table_init") (table.init $later (i32.const 1) (i32.const 0) (i32.const 2)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
