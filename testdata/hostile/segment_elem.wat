;; An element segment that lies beyond the table.
;; @may-refuse invalid|trap "table access|elem"
;; @call good "wazero leaves such a segment out" => output "wazero leaves such a segment out"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (table 1 funcref)
  (elem (i32.const 1) $f)
  (func $f)
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
