/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The machine underneath: a very small kernel, and what a compiler expects of a C library.
 *
 * Entered in 64-bit mode, privileged, with interrupts off. The driver runs unprivileged, with leave to use ports: posting and taking need nothing
 * else; and a KVM that has no hardware underneath runs only unprivileged code at full speed (the other is interpreted, a microsecond an instruction).
 */
#include "guest.h"

#define APIC_BASE 0x1B
#define APIC_BASE_ENABLE_X2 0xC00
#define X2APIC_END_OF_INTERRUPT 0x80B
#define X2APIC_SPURIOUS 0x80F
#define X2APIC_ENABLE 0x100
#define FLAGS_OF_DRIVER "0x2" /* no interrupts */
#define CODE_SEGMENT 0x08
#define DRIVER_DATA_SEGMENT "0x1B"
#define DRIVER_CODE_SEGMENT "0x23"
#define INTERRUPT_GATE 0x8E00
#define PROTECTION_VECTOR 13
#define HLT 0xF4

struct interrupt_frame {
    uint64_t address, segment, flags, stack, stack_segment;
};

struct gate {
    uint16_t offset_low, segment, attributes, offset_middle;
    uint32_t offset_high, reserved;
};

static struct gate table[256] __attribute__((aligned(16)));

volatile uint64_t interrupts;

/* The first bytes of the image: prepares the machine and returns, as from an interrupt, into the driver. */
__attribute__((section(".text.entry"), naked, noreturn)) void entry(void)
{
    __asm__ volatile("call machine_prepare; mov %rsp, %rax; push $" DRIVER_DATA_SEGMENT "; push %rax; push $" FLAGS_OF_DRIVER
                     "; push $" DRIVER_CODE_SEGMENT "; push $guest_main; iretq");
}

static uint64_t read_register(uint32_t number)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (uint64_t)high << 32 | low;
}

static void write_register(uint32_t number, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

__attribute__((interrupt)) static void notification(struct interrupt_frame *frame)
{
    (void)frame;
    interrupts++;
    write_register(X2APIC_END_OF_INTERRUPT, 0);
}

/* The driver's kernel call, a HLT that it may not execute. Interrupts are let in nowhere else. */
__attribute__((interrupt)) static void protection(struct interrupt_frame *frame, uint64_t code)
{
    (void)code;
    if (*(const uint8_t *)frame->address != HLT)
        __builtin_trap();
    if (THE_JOB->kind == JOB_BARE_EXITS) {
        for (uint64_t left = THE_JOB->count; left > 0; left--)
            out32(EXIT_PORT, 1);
    } else {
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
    frame->address++;
}

static struct gate gate(uintptr_t handler)
{
    return (struct gate){
        .offset_low = (uint16_t)handler,
        .segment = CODE_SEGMENT,
        .attributes = INTERRUPT_GATE,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
}

/* Makes the interrupt descriptor table and switches the local interrupt controller on. */
__attribute__((used)) void machine_prepare(void)
{
    struct { uint16_t limit; uint64_t base; } __attribute__((packed)) where = { sizeof table - 1, (uint64_t)table };

    table[PROTECTION_VECTOR] = gate((uintptr_t)protection);
    table[NOTIFICATION_VECTOR] = gate((uintptr_t)notification);
    __asm__ volatile("lidt %0" : : "m"(where));
    write_register(APIC_BASE, read_register(APIC_BASE) | APIC_BASE_ENABLE_X2);
    write_register(X2APIC_SPURIOUS, X2APIC_ENABLE | 0xFF);
}

void *memset(void *to, int value, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++)
        ((uint8_t *)to)[at] = (uint8_t)value;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++)
        ((uint8_t *)to)[at] = ((const uint8_t *)from)[at];
    return to;
}
