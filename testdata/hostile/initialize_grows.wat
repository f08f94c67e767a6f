;; An _initialize that takes all memory there is and traps.
;; @limits memory=2MiB
;; @begin limit "its start-up: asked for 65536 bytes of memory beyond its 2097152, was refused"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (func (export "_initialize")
    (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
