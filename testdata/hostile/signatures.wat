;; Exports that are no operations: parameters, results that are no i32, several results, what is no function.
;; @call parameters => invalid "has parameters or a result that is no i32"
;; @call wide => invalid "has parameters or a result that is no i32"
;; @call float => invalid "has parameters or a result that is no i32"
;; @call two => invalid "has parameters or a result that is no i32"
;; @call reference => invalid "has parameters or a result that is no i32"
;; @call memory => invalid "does not export \"memory\"; it exports .*good"
;; @call global => invalid "does not export \"global\""
;; @call table => invalid "does not export \"table\""
;; @call absent => invalid "does not export \"absent\""
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory (export "memory") 1)
  (global (export "global") (mut i32) (i32.const 0))
  (table (export "table") 1 funcref)
  (func (export "parameters") (param i32))
  (func (export "wide") (result i64) (i64.const 0))
  (func (export "float") (result f32) (f32.const 0))
  (func (export "two") (result i32 i32) (i32.const 0) (i32.const 0))
  (func (export "reference") (result externref) (ref.null extern))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
