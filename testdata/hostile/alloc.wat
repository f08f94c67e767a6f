;; The host's memory for a call: in large blocks, at once, by the input or a config value again and again.
;; @limits input=1MiB output=1MiB http_out=1MiB http_in=1MiB time=5s
;; @call large => limit "more than \d+ bytes of memory"
;; @call at_once => limit "more than \d+ bytes of memory"
;; @call whole_space => limit "more than \d+ bytes of memory"
;; @call rounded => limit "more than \d+ bytes of memory"
;; @call inputs "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" => limit "."
;; @call nothing => output ""
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (memory 1)
  (func (export "large") (loop (drop (call $alloc (i64.const 65536))) (br 0)))
  (func (export "at_once") (drop (call $alloc (i64.const 1099511627776))))
  (func (export "whole_space") (drop (call $alloc (i64.const -1))))
  (func (export "rounded") (drop (call $alloc (i64.const 8))) (drop (call $alloc (i64.const -8))))
  (func (export "inputs") (loop (drop (call $alloc (i64.const 65536))) (drop (call $input_offset)) (br 0)))
  (func (export "nothing") (if (i64.ne (call $alloc (i64.const 0)) (i64.const 0)) (then (unreachable))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
