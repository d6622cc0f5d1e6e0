; tick.asm - 512-byte real-mode test VM.  nasm -f bin -o tick.img tick.asm
; Every ~110 ms (2 BIOS ticks): counter++, print "T xxxxxxxx\n" on COM1 and,
; when sector 1 of the boot disk starts with 'D', write counter and number of
; this boot to sector 16 + (counter mod 1024). Sector 2 holds the number of boots.
; Bytes received on COM1 are commands:
;  p pvpanic(0x505)  c crashload(0x505 bit1)  q ACPI poweroff  r reset
;  h cli;hlt  w arm every watchdog there is and never feed it: ib700 and i6300esb
;  reset the guest after 2 s, the TCO of q35 after 5 s
bits 16
org 0x7c00
start:  cli
        xor ax,ax
        mov ds,ax
        mov es,ax
        mov ss,ax
        mov sp,0x7c00
        sti
        mov [dap_drive],dl
        mov dx,0x3fb
        mov al,0x80
        out dx,al
        mov dx,0x3f8
        mov ax,1
        out dx,ax          ; divisor 1 (lo=1 hi=0)
        mov dx,0x3fb
        mov al,3
        out dx,al
        mov dx,0x3f9
        xor al,al
        out dx,al
        mov ax,0x4200      ; read LBA1 -> flags
        mov dword [dap_lba],1
        call disk
        mov al,[0x7e00]
        mov [flag],al
        mov ax,0x4200      ; read LBA2 -> number of the boot before
        mov dword [dap_lba],2
        call disk
        inc dword [0x7e04]
        cmp byte [flag],'D'
        jne .boot
        call write
.boot:
        mov si,banner
        call puts
        mov eax,[0x46c]
        mov [last],eax
tick:   inc dword [ctr]
        mov si,tag
        call puts
        mov eax,[ctr]
        mov cx,8
.hex:   rol eax,4
        push eax
        and al,15
        cmp al,10
        sbb al,0x69
        das
        call putc
        pop eax
        loop .hex
        mov al,10
        call putc
        cmp byte [flag],'D'
        jne wait_
        mov eax,[ctr]
        mov [0x7e00],eax
        and eax,1023
        add eax,16
        mov [dap_lba],eax
        call write
wait_:  mov dx,0x3fd
        in al,dx
        test al,1
        jnz cmd
        mov eax,[0x46c]
        sub eax,[last]
        cmp eax,2
        jae .due
        hlt
        jmp wait_
.due:   add dword [last],2
        jmp tick
cmd:    mov dx,0x3f8
        in al,dx
        cmp al,'p'
        je .p
        cmp al,'c'
        je .c
        cmp al,'q'
        je .q
        cmp al,'r'
        je .r
        cmp al,'h'
        je .h
        cmp al,'w'
        je .w
        jmp wait_
.p:     mov al,1
        jmp .pv
.c:     mov al,2
.pv:    mov dx,0x505
        out dx,al
        jmp wait_
.q:     mov dx,0x604
        mov ax,0x2000
        out dx,ax
        jmp wait_
.r:     mov dx,0xcf9
        mov al,6
        out dx,al
        mov al,0xfe
        out 0x64,al
.h:     cli
        hlt
.w:     mov dx,0x443
        mov al,14          ; ib700: 30-2*14 = 2 s
        out dx,al
        mov ax,0xb102      ; PCI BIOS: find the i6300esb
        mov cx,0x25ab
        mov dx,0x8086
        xor si,si
        int 0x1a
        jc .tco
        mov ax,0xb10c      ; config: 1 MHz, so 1 s to an interrupt, which is off, and 1 s to the reset
        mov di,0x60
        mov cx,7
        int 0x1a
        mov ax,0xb10b      ; lock register: enable
        mov di,0x68
        mov cl,2
        int 0x1a
.tco:   cli                ; a segment that reaches all memory, for the chipset's registers
        lgdt [gdtr]
        mov eax,cr0
        inc ax
        mov cr0,eax
        mov bx,8
        mov fs,bx
        dec ax
        mov cr0,eax
        mov ebx,0xfed1f410 ; GCS
        and byte [fs:ebx],0xdf ; not NO_REBOOT
        sti
        mov dx,0x660       ; TCO_RLD: 4 ticks of 0.6 s, twice
        out dx,ax
        jmp wait_
write:  push eax
        mov ax,0x4300
        call disk
        jnc .ok
        mov al,'!'         ; disk write error mark
        call putc
.ok:    pop eax
        ret
disk:   mov dl,[dap_drive]
        mov si,dap
        int 0x13
        ret
putc:   push ax
        mov dx,0x3fd
.w:     in al,dx
        test al,0x20
        jz .w
        pop ax
        mov dx,0x3f8
        out dx,al
        ret
puts:   lodsb
        or al,al
        jz .e
        call putc
        jmp puts
.e:     ret
banner: db 'BOOT',10,0
tag:    db 'T ',0
ctr:    dd 0
last:   dd 0
flag:   db 0
dap_drive: db 0
dap:    db 16,0
        dw 1
        dw 0x7e00,0
dap_lba: dd 1,0
gdtr:   dw 15
        dd gdt-8           ; entry 0 is never read
gdt:    dw 0xffff,0,0x9200,0xcf
        times 510-($-$$) db 0
        dw 0xaa55
