;; Table growth: a table takes the host's memory, not the guest's.
;; @limits time=5s table=10000
;; @call until_refused => output "within"
;; @call at_once => output "refused"
;; @call two => output "within"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (memory 1)
  (table $a 1 funcref)
  (table $b 1 externref)
  (func $say (param $text i64) (param $n i64) (local $at i64)
    (local.set $at (call $alloc (i64.const 8)))
    (call $store_u64 (local.get $at) (local.get $text))
    (call $output_set (local.get $at) (local.get $n)))
  (func $within (param i32)
    (if (i32.le_u (local.get 0) (i32.const 10000))
      (then (call $say (i64.const 0x6e6968746977) (i64.const 6)))
      (else (call $say (i64.const 0x646e6f796562) (i64.const 6)))))
  (func (export "until_refused")
    (loop (br_if 0 (i32.ne (table.grow $a (ref.null func) (i32.const 1000)) (i32.const -1))))
    (call $within (table.size $a)))
  (func (export "two")
    (loop (br_if 0 (i32.ne (table.grow $b (ref.null extern) (i32.const 999)) (i32.const -1))))
    (call $within (table.size $b)))
  (func (export "at_once")
    (if (i32.eq (table.grow $a (ref.null func) (i32.const 100000000)) (i32.const -1))
      (then (call $say (i64.const 0x64657375666572) (i64.const 7)))
      (else (call $say (i64.const 0x6e776f7267) (i64.const 5)))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
